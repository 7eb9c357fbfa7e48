"""Connections to receivers: kept, closed when they cannot be used again, and asked once more when they were closed."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.worker.alerting import receivers
from app.worker.alerting.receivers import MAX_ANSWER_BYTES, HungUp, Receiver
from tests.support.tls import behind_tls, make_certificate

REQUEST = b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def answering(
    *answers: bytes | None, close_after: int = 0
) -> AsyncIterator[tuple[Receiver, list[int]]]:
    """A server that gives these answers in turn, the last one for ever; ``None`` hangs up.

    ``close_after``: it hangs up behind so many answers of a connection. Yields also the requests by connection.
    """
    asked: list[int] = []
    given = iter(answers)
    last: list[bytes | None] = [None]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(asked)
        asked.append(0)
        try:
            while True:
                await reader.readuntil(b"{}")
                asked[place] += 1
                last[0] = next(given, last[0])
                if last[0] is None:
                    return
                writer.write(last[0])
                if asked[place] == close_after:
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver = Receiver("x", "127.0.0.1", server.sockets[0].getsockname()[1], tls=False)
    try:
        yield receiver, asked
    finally:
        receiver.close()
        server.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("answer", "status", "connections"),
    [
        (OK, 200, 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, 1),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, 1),
        (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK, 200, 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, 1),
        (b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 500, 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 2),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(MAX_ANSWER_BYTES), 200, 2),
    ],
    ids=["body", "no body", "redirect", "early hints", "chunked", "closes", "old", "long"],
)
async def test_the_status_is_told_and_the_connection_is_used_again_if_it_can_be(
    answer: bytes, status: int, connections: int
) -> None:
    async with answering(answer) as (receiver, asked):
        assert [await receiver.post(REQUEST) for _ in range(2)] == [status] * 2
        assert len(asked) == connections


async def test_a_kept_connection_that_was_closed_is_no_failure() -> None:
    async with answering(OK, close_after=1) as (receiver, asked):
        assert [await receiver.post(REQUEST) for _ in range(3)] == [200] * 3
        assert asked == [1, 1, 1]
    async with answering(OK, None, OK) as (receiver, asked):
        assert [await receiver.post(REQUEST) for _ in range(2)] == [200] * 2, "closed under the request"
        assert asked == [2, 1]


@pytest.mark.parametrize(
    "answer",
    [None, b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_ANSWER_BYTES],
    ids=["hangs up", "no HTTP", "endless head"],
)
async def test_what_has_no_status_is_a_failure(answer: bytes | None) -> None:
    async with answering(answer) as (receiver, _):
        with pytest.raises(HungUp):
            await receiver.post(REQUEST)


async def test_a_request_that_is_given_up_leaves_no_connection_in_use() -> None:
    async with answering(b"HTTP/1.1 100 Continue\r\n\r\n", OK) as (receiver, asked):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await receiver.post(REQUEST)
        assert await receiver.post(REQUEST) == 200
        assert asked == [1, 1]


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    async with answering(OK) as (receiver, asked):
        assert await asyncio.gather(*(receiver.post(REQUEST) for _ in range(5))) == [200] * 5
        assert asked == [1] * 5
        await asyncio.gather(*(receiver.post(REQUEST) for _ in range(5)))
        assert len(asked) == 5


async def test_the_certificate_must_be_that_of_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    async with (
        answering(OK) as (plain, _),
        behind_tls(certificate, host="127.0.0.1", port=plain.port) as port,
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            await Receiver("localhost", "127.0.0.1", port, tls=True).post(REQUEST)
        trusting = ssl.create_default_context(cafile=certificate.certificate)
        monkeypatch.setattr(receivers, "_tls_context", lambda: trusting)
        named = Receiver("localhost", "127.0.0.1", port, tls=True)
        assert [await named.post(REQUEST) for _ in range(2)] == [200, 200]
        named.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await Receiver("other.example", "127.0.0.1", port, tls=True).post(REQUEST)


async def test_what_is_in_use_while_all_are_closed_is_not_used_again() -> None:
    async with answering(OK) as (receiver, asked):
        first = asyncio.create_task(receiver.post(REQUEST))
        await asyncio.sleep(0)
        receiver.close()
        assert [await first, await receiver.post(REQUEST)] == [200, 200]
        assert len(asked) == 2
