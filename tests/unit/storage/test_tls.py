"""Connections to both servers over TLS: made, and refused where the certificate is not to be trusted."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text

from storage.errors import PostgresUnavailable, RedisUnavailable
from storage.postgres import connector, make_engine, transaction
from storage.redis import make_redis, redis_errors
from storage.redis_pipe import Pipe
from tests.support.tls import Certificate, behind_tls, make_certificate

ATTEMPTS = 5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


async def is_usable(url: str) -> bool:
    """Return whether the pipe and the client of background work both get through; neither does otherwise."""
    for _ in range(ATTEMPTS):
        found = await connects(url)
        if len(found) == 1:
            return found.pop()
    raise AssertionError("one of the two gets through, and the other does not")


async def connects(url: str) -> set[bool]:
    """Return whether each gets through. A busy machine may be too slow for the time-out of one of them."""
    pipe, redis = Pipe(url, retry_ms=10_000), make_redis(url)
    await pipe.start()
    try:
        found = {pipe.connected and await pipe.call("PING") == b"PONG"}
    except RedisUnavailable:
        found = {False}
    try:
        async with redis_errors():
            await redis.ping()
        return found | {True}
    except RedisUnavailable:
        return found | {False}
    finally:
        await pipe.stop()
        await redis.aclose()


async def test_redis_over_tls(redis_url: str, certificate: Certificate) -> None:
    inner = urlsplit(redis_url)
    async with behind_tls(certificate, host="127.0.0.1", port=inner.port or 0) as port:
        url = f"rediss://:{inner.password}@localhost:{port}/0"
        assert await is_usable(f"{url}?ssl_ca_certs={certificate.certificate}")
        assert await is_usable(f"{url}?ssl_cert_reqs=none")
        assert not await is_usable(url), "a certificate that nobody vouches for"
        other = url.replace("localhost", "127.0.0.1")
        assert not await is_usable(f"{other}?ssl_ca_certs={certificate.certificate}"), "of another name"
        assert await is_usable(f"{other}?ssl_ca_certs={certificate.certificate}&ssl_check_hostname=false")


def socket_of(postgres_url: str) -> tuple[str, str]:
    """Return the socket and the database of an embedded server."""
    split = urlsplit(postgres_url)
    options = parse_qs(split.query)
    return str(Path(options["host"][0]) / f".s.PGSQL.{options['port'][0]}"), split.path


@pytest.mark.parametrize(
    ("options", "host", "connects"),
    [
        ("sslmode=require", "localhost", True),
        ("sslmode=verify-full&sslrootcert={ca}", "localhost", True),
        ("sslmode=verify-full&sslrootcert={ca}", "127.0.0.1", False),
        ("sslmode=verify-ca&sslrootcert={ca}", "127.0.0.1", True),
        ("sslmode=disable", "localhost", False),
    ],
)
async def test_postgres_over_tls(
    postgres_url: str, certificate: Certificate, options: str, host: str, connects: bool
) -> None:
    socket, database = socket_of(postgres_url)
    async with behind_tls(certificate, socket=socket) as port:
        query = options.format(ca=certificate.certificate)
        url = f"postgres://postgres@{host}:{port}{database}?{query}"
        engine = make_engine(url)
        try:
            if connects:
                async with transaction(engine) as connection:
                    assert (await connection.execute(text("SELECT 1"))).scalar() == 1
                archiving = await connector(url, timeout=2)()
                assert await archiving.fetchval("SELECT 1") == 1
                await archiving.close()
            else:
                with pytest.raises(PostgresUnavailable):
                    async with transaction(engine):
                        pass
        finally:
            await engine.dispose()
