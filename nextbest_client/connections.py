"""Connections of the client for programs with an event loop, where many requests are under way at once."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

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
        self._tls = httpx.create_ssl_context(trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Its connection is free again once the answer's stream is closed."""
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._free.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("all connections are in use", request=request) from None
        try:
            await self._close_unused()
            # The one that was used last: so those that are not needed any more become old.
            transport = self._idle.pop()[1] if self._idle else self._open()
        except BaseException:
            self._free.release()
            raise
        try:
            response = await transport.handle_async_request(request)
        except BaseException:
            self._put_back(transport)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Answer(response.stream, self, transport)
        return response

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.popleft()[1].aclose()

    def _open(self) -> httpx.AsyncHTTPTransport:
        return httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False, limits=_ONE)

    async def _close_unused(self) -> None:
        while self._idle and self._idle[0][0] < time.monotonic() - KEEP_S:
            await self._idle.popleft()[1].aclose()

    def _put_back(self, transport: httpx.AsyncHTTPTransport) -> None:
        self._idle.append((time.monotonic(), transport))
        self._free.release()


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
        try:
            await self._body.aclose()
        finally:
            if transport is not None:
                self._owner._put_back(transport)
