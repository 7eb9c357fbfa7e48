"""Connections of the client for programs with an event loop, where many requests are under way at once."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx

MAX_CONNECTIONS = 100
KEEP_S = 5.0
"""So long an idle connection is kept, as httpx does."""
_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_S)


class AsyncConnections(httpx.AsyncBaseTransport):
    """A transport of httpx that has a pool of one for each request under way, and keeps the pools for the next ones.

    One pool of httpx looks at all of its connections, and asks the kernel about those that are idle, for every request
    that waits, whenever a request begins or ends: with 64 requests at once a request cost six times the processor
    time of one alone, and one in a hundred waited for seconds (``python -m benchmarks.client_connections``). It is
    meant for one address: where requests go to several, connections are closed and opened as they change.

    ``most``: of connections. Further requests wait, for as long as the request's time-out for a pool says; then they
    raise ``httpx.PoolTimeout``.
    """

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self._free = asyncio.Semaphore(most)
        self._idle: deque[tuple[float, httpx.AsyncHTTPTransport]] = deque()
        self._busy: set[httpx.AsyncHTTPTransport] = set()
        self._tls = httpx.create_ssl_context(trust_env=False)
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Its connection is free again once the answer's stream is closed."""
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._free.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("all connections are in use", request=request) from None
        # The one that was used last: so those that are not needed any more become old.
        transport = self._idle.pop()[1] if self._idle else self._open()
        self._busy.add(transport)
        try:
            await self._close_unused()
            response = await transport.handle_async_request(request)
        except BaseException:
            await self._discard(transport)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Answer(response.stream, self, transport)
        return response

    async def aclose(self) -> None:
        """Close all connections. Requests under way fail, as those of a pool of httpx do."""
        self._closed = True
        transports = [*self._busy, *(transport for _, transport in self._idle)]
        self._idle.clear()
        for transport in transports:
            await _close(transport)

    def _open(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=_ONE)

    async def _close_unused(self) -> None:
        while self._idle and self._idle[0][0] < time.monotonic() - KEEP_S:
            await _close(self._idle.popleft()[1])

    async def _give_back(self, transport: httpx.AsyncHTTPTransport) -> None:
        """Keep a connection whose exchange came to its end for the next request."""
        if self._closed:
            await self._discard(transport)
            return
        self._busy.discard(transport)
        self._idle.append((time.monotonic(), transport))
        self._free.release()

    async def _discard(self, transport: httpx.AsyncHTTPTransport) -> None:
        """Close a connection whose exchange did not come to its end.

        A task may be cancelled at moments in which httpcore's pool keeps the place of a connection that is neither idle
        nor closed; then this pool of one would let no request through any more.
        """
        self._busy.discard(transport)
        self._free.release()
        await _close(transport)


async def _close(transport: httpx.AsyncHTTPTransport) -> None:
    # What cannot be closed in order is gone already.
    with suppress(httpx.TransportError, OSError, RuntimeError):
        await transport.aclose()


class _Answer(httpx.AsyncByteStream):
    """The body of an answer, which gives its connection back when it is closed."""

    def __init__(
        self, body: httpx.AsyncByteStream, owner: AsyncConnections, transport: httpx.AsyncHTTPTransport
    ) -> None:
        self._body, self._owner = body, owner
        self._transport: httpx.AsyncHTTPTransport | None = transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        try:
            await self._body.aclose()
        except BaseException:
            await self._owner._discard(transport)
            raise
        await self._owner._give_back(transport)
