"""Addresses of servers are understood, or refused in words; what may be secret is never quoted."""

from pathlib import Path

import pytest

from storage.addresses import InvalidAddress, parse_postgres, parse_redis


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("postgresql://u:p@db/nextbest", "postgresql://u:p@db/nextbest"),
        ("postgres://u:p@db:5433/nextbest", "postgresql://u:p@db:5433/nextbest"),
        ("postgresql+asyncpg://u:p@db/nextbest", "postgresql://u:p@db/nextbest"),
        (
            "postgres://u:p@db/nextbest?sslmode=require",
            "postgresql://u:p@db/nextbest?sslmode=require",
        ),
        ("postgresql://u:p@a:1,b:2/nextbest", "postgresql://u:p@a:1,b:2/nextbest"),
        ("postgresql://u:p@[::1]:5432/nextbest", "postgresql://u:p@[::1]:5432/nextbest"),
        (
            "postgresql://postgres@/nextbest?host=%2Frun&port=5432",
            "postgresql://postgres@/nextbest?host=%2Frun&port=5432",
        ),
        ("postgresql://u:p@ss@db/nextbest", "postgresql://u:p%40ss@db/nextbest"),
        ("postgresql://u:p:q@db/nextbest", "postgresql://u:p:q@db/nextbest"),
    ],
)
def test_addresses_of_postgres_are_understood(given: str, read: str) -> None:
    assert parse_postgres(given) == read


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "is empty"),
        ("postgresql:u:hunter2@db/nextbest", "no scheme with ://"),
        ("db:5432/nextbest", "no scheme with ://"),
        ("mysql://u:hunter2@db/nextbest", "the scheme is 'mysql'"),
        ("postgresql://u:hunter2@db", "no database is named"),
        ("postgresql://u:hunter2@db/a/b", "has no /"),
        ("postgresql://u:hun/ter2@db/nextbest", "write %2F"),
        ("postgresql://u:hun#ter2@db/nextbest", "write %23"),
        ("postgresql://u:hun?ter2@db/nextbest", "write %3F"),
        ("postgresql://u:hun ter2@db/nextbest", "a blank"),
        ("postgresql://u:hunter2@db:port/nextbest", "the port is no number"),
        ("postgresql://u:hunter2@db:70000/nextbest", "the port is no number"),
        ("postgresql://u:hunter2@:5432/nextbest", "a host or its port is missing"),
        ("postgresql://u:hunter2@db/nextbest?sslmod=require", "no option sslmod; did you mean sslmode"),
        ("postgresql://u:hunter2@db/nextbest?sslmode=on", "sslmode is one of disable, allow"),
        ("postgresql://u:hunter2@db/nextbest?sslmode", "not name=value"),
        ("postgresql://u:hunter2@db/nextbest?sslmode=", "the option sslmode has no value"),
        ("postgresql://u:hunter2@db/nextbest?ssl=true", "there is no option ssl"),
        (
            "postgresql://u:hunter2@db/nextbest?sslmode=verify-full&sslrootcert=/none.pem",
            "sslrootcert cannot be read: No such file",
        ),
    ],
)
def test_wrong_addresses_of_postgres_are_refused_by_what_is_wrong(given: str, reason: str) -> None:
    with pytest.raises(InvalidAddress) as raised:
        parse_postgres(given)
    assert reason in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "ter2" not in str(raised.value)


def test_addresses_of_redis_are_understood() -> None:
    read = parse_redis("redis://:p%40ss@cache:6380/3")
    assert (read.host, read.port, read.database, read.user, read.password) == ("cache", 6380, 3, "", "p@ss")
    assert (read.tls, read.path) == (None, None)
    assert read.url == "redis://:p%40ss@cache:6380/3"
    assert parse_redis("redis://cache").port == 6379
    assert parse_redis("valkey://ann:p@cache").url == "redis://ann:p@cache/0"
    assert parse_redis("redis://[::1]:7000/0").host == "::1"
    socket = parse_redis("unix://:p@/run/redis.sock?db=2")
    assert (socket.path, socket.database, socket.password) == ("/run/redis.sock", 2, "p")
    assert socket.url == "unix://:p@/run/redis.sock?db=2"


def test_tls_of_redis_checks_certificate_and_name_unless_told_otherwise() -> None:
    context = parse_redis("rediss://:p@cache:6379/0").tls
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    read = parse_redis("rediss://:p@cache/1?ssl_check_hostname=false")
    assert read.tls is not None
    assert (read.tls.check_hostname, read.tls.verify_mode.name) == (False, "CERT_REQUIRED")
    assert read.url == "rediss://:p@cache/1?ssl_check_hostname=false"
    unchecked = parse_redis("rediss://:p@cache?ssl_cert_reqs=none").tls
    assert unchecked is not None
    assert unchecked.verify_mode.name == "CERT_NONE"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("redis:wrong@host", "no scheme with ://"),
        ("cache:6379", "no scheme with ://"),
        ("http://:hunter2@cache", "the scheme is 'http'"),
        ("redis://hunter2@cache:6379/0", "a user without a password"),
        ("redis://:hunter2@cache:6379/first", "the database is no number"),
        ("redis://:hunter2@cache:x/0", "the port is no number"),
        ("redis://:hun/ter2@cache:6379/0", "write %2F"),
        ("redis://:hun#ter2@cache:6379/0", "write %23"),
        ("redis://:hun?ter2@cache:6379/0", "write %3F"),
        ("redis://:hunter2@cache/0?db=1", "there is no option db"),
        ("redis://:hunter2@cache/0?ssl_ca_certs=/ca.pem", "there is no option ssl_ca_certs"),
        ("rediss://:hunter2@cache/0?ssl_ca_cert=/ca.pem", "did you mean ssl_ca_certs"),
        ("rediss://:hunter2@cache/0?ssl_ca_certs=/none.pem", "ssl_ca_certs cannot be read"),
        ("rediss://:hunter2@cache/0?ssl_cert_reqs=maybe", "ssl_cert_reqs is required or none"),
        ("unix://:hunter2@", "no socket is named"),
    ],
)
def test_wrong_addresses_of_redis_are_refused_by_what_is_wrong(given: str, reason: str) -> None:
    with pytest.raises(InvalidAddress) as raised:
        parse_redis(given)
    assert reason in str(raised.value)
    assert "ter2" not in str(raised.value)


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing of the kind")
    with pytest.raises(InvalidAddress, match="a certificate cannot be read"):
        parse_redis(f"rediss://:p@cache/0?ssl_ca_certs={file}")
