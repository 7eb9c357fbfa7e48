"""Connections of the client with an event loop, against a server on loopback that counts them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from nextbest_client.connections import AsyncConnections
from tests.support.waiting import eventually, within


class Server:
    """Answers each request with ``ok``, unless it is held; counts connections and requests under way."""

    def __init__(self) -> None:
        self.opened = self.open = self.busy = self.most_busy = 0
        self.free = asyncio.Event()
        self.free.set()
        self.cuts = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client closes it."""
        self.opened += 1
        self.open += 1
        try:
            while await reader.readline():
                while (await reader.readline()).strip():
                    pass  # headers
                self.busy += 1
                self.most_busy = max(self.busy, self.most_busy)
                await self.free.wait()
                self.busy -= 1
                if self.cuts:
                    return
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def held(self, count: int) -> None:
        """Wait until so many requests are under way."""

        async def arrived() -> bool:
            return self.busy == count

        await eventually(arrived, f"{count} requests under way", explain=lambda: self.busy)

    async def left(self, count: int) -> None:
        """Wait until no more than so many connections are open."""

        async def closed() -> bool:
            return self.open == count

        await eventually(closed, f"{count} open connections", explain=lambda: self.open)


@asynccontextmanager
async def serving(most: int) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """A server, and a client of it with so many connections at most, and a time-out for a free one."""
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        timeout = httpx.Timeout(30.0, pool=0.05)
        transport = AsyncConnections(most)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=timeout
        ) as http:
            yield server, http
        await server.left(0)  # what the client closes is closed


async def test_connections_are_used_again() -> None:
    async with serving(3) as (server, http):
        for _ in range(5):
            assert (await http.get("/")).text == "ok"
        assert server.opened == 1


async def test_as_many_requests_are_under_way_as_there_are_connections() -> None:
    async with serving(3) as (server, http):
        answers = await asyncio.gather(*(http.get("/", timeout=30.0) for _ in range(20)))
        assert {answer.text for answer in answers} == {"ok"}
        assert server.most_busy <= server.opened <= 3


async def test_who_finds_none_free_is_told_in_time() -> None:
    async with serving(1) as (server, http):
        server.free.clear()
        first = asyncio.create_task(http.get("/"))
        await server.held(1)
        with pytest.raises(httpx.PoolTimeout, match="all connections are in use"):
            await http.get("/")
        server.free.set()
        assert (await first).text == "ok"
        assert (await http.get("/")).text == "ok"
        assert server.opened == 1


async def test_a_request_that_is_given_up_leaves_its_place_to_others() -> None:
    async with serving(1) as (server, http):
        server.free.clear()
        given_up = asyncio.create_task(http.get("/"))
        await server.held(1)
        waiting = asyncio.create_task(http.get("/", timeout=30.0))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        server.free.set()
        assert (await within(waiting, "the next request")).text == "ok"
        assert server.opened == 2, "an exchange that was cut short leaves no connection to go on with"


async def test_a_connection_that_breaks_leaves_its_place_to_others() -> None:
    async with serving(1) as (server, http):
        server.cuts = True
        for _ in range(3):
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get("/")
        server.cuts = False
        assert (await http.get("/")).text == "ok"


async def test_an_answer_that_nobody_reads_gives_its_connection_back() -> None:
    async with serving(1) as (_, http):
        for _ in range(3):
            async with http.stream("GET", "/") as answer:
                assert answer.status_code == 200
        answer = await http.get("/")
        await answer.aclose()  # twice is once
        assert (await http.get("/")).text == "ok"


async def test_connections_that_are_not_needed_any_more_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(3) as (server, http):
        server.free.clear()
        together = [asyncio.create_task(http.get("/")) for _ in range(3)]
        await server.held(3)
        server.free.set()
        await asyncio.gather(*together)
        assert server.open == 3
        monkeypatch.setattr("nextbest_client.connections.KEEP_S", 0.0)
        await http.get("/")
        await server.left(1)


@pytest.mark.parametrize("before", ["nothing", "a request", "another address"])
async def test_wherever_a_request_is_given_up_the_next_ones_get_through(before: str) -> None:
    """httpcore's pool may keep the place of a connection for ever if its task is cancelled at the wrong moment."""
    for turns in range(40):
        async with serving(2) as (server, http):
            if before != "nothing":
                await http.get("/" if before == "a request" else f"http://localhost:{http.base_url.port}/")
            given_up = asyncio.create_task(http.get("/"))
            for _ in range(turns):
                await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            for _ in range(3):
                assert (await http.get("/")).text == "ok", turns
            assert server.opened <= 3


async def test_requests_under_way_fail_when_the_client_is_closed() -> None:
    async with serving(2) as (server, http):
        server.free.clear()
        under_way = asyncio.create_task(http.get("/"))
        await server.held(1)
        await http.aclose()
        with pytest.raises(httpx.TransportError):
            await within(under_way, "the request to fail")
        server.free.set()
