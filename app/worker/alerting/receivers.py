"""Connections to those who receive webhooks: HTTP/1.1, kept open, one request at a time on each.

Answers are read for their status alone. A client for all purposes costs more processor time for a request than the
decision that is in it.
"""

import asyncio
import ssl
import time
from contextlib import suppress
from functools import cache
from typing import cast

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_IDLE = 32
IDLE_S = 30.0
MAX_ANSWER_BYTES = 65_536
MAX_ANSWER_S = 1.0
"""So long the rest of an answer is read, so that its connection can be used again."""


class HungUp(ConnectionError):
    """The connection was closed, or what came was no HTTP, before there was a status."""


class _Connection(asyncio.Protocol):
    """One connection. ``usable``: it waits for a request."""

    def __init__(self) -> None:
        self.usable = False
        self.idle_since_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        self._status: asyncio.Future[int] | None = None
        self._end: asyncio.Future[None] | None = None
        self._received = 0

    async def post(self, request: bytes) -> int:
        """Send a request, and return the status of the answer. Raises ``HungUp``."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._status, self._end = loop.create_future(), loop.create_future()
        self._parser, self._received, self.usable = HttpResponseParser(self), 0, False
        try:
            self._transport.write(request)
            status = await self._status
            if not self._end.done():
                with suppress(TimeoutError):
                    async with asyncio.timeout(MAX_ANSWER_S):
                        await self._end
            return status
        finally:
            self._status = self._end = self._parser = None
            if self.usable:
                self.idle_since_s = time.monotonic()
            else:
                self.close()

    def close(self) -> None:
        """Hang up."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (``asyncio.Protocol``)."""
        self._transport, self.usable = cast("asyncio.Transport", transport), True  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        """End (``asyncio.Protocol``)."""
        self.usable = False
        if self._status is not None and not self._status.done():
            self._status.set_exception(HungUp())
        self._end_answer()

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer (``asyncio.Protocol``)."""
        if self._parser is None:  # nothing was asked
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.close()
        if self._received > MAX_ANSWER_BYTES:
            self.close()

    def on_headers_complete(self) -> None:
        """Note the status (``httptools``); those below 200 announce another one."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= 200 and self._status is not None and not self._status.done():
            self._status.set_result(status)

    def on_message_complete(self) -> None:
        """Note that the answer has been read (``httptools``)."""
        assert self._parser is not None
        if self._status is not None and self._status.done():
            self.usable = self._parser.should_keep_alive()
            self._end_answer()

    def _end_answer(self) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(None)


class Receiver:
    """The receiver at an address: ``host`` is the name that the certificate must have, where ``tls`` is used."""

    def __init__(self, host: str, address: str, port: int, *, tls: bool) -> None:
        self._host = host
        self._address = address
        self.port = port
        self._tls = tls
        self._idle: list[_Connection] = []
        self._is_closed = False

    async def post(self, request: bytes) -> int:
        """Send a request, and return the status of the answer. Raises ``OSError``.

        One that was sent on a connection just as it was closed is sent again on a new one: it may come twice.
        """
        kept = self._kept()
        if kept is not None:
            with suppress(HungUp):
                return await self._post(kept, request)
        loop = asyncio.get_running_loop()
        context, name = (_tls_context(), self._host) if self._tls else (None, None)
        _, made = await loop.create_connection(
            _Connection, self._address, self.port, ssl=context, server_hostname=name
        )
        return await self._post(made, request)

    def close(self) -> None:
        """Close the connections; those in use, as soon as they are not."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()

    def _kept(self) -> _Connection | None:
        """Take the connection that was used last, if it can be used still; close those that were not for long."""
        oldest_s = time.monotonic() - IDLE_S
        while self._idle and self._idle[0].idle_since_s < oldest_s:
            self._idle.pop(0).close()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    async def _post(self, connection: _Connection, request: bytes) -> int:
        status = await connection.post(request)
        if connection.usable:
            if self._is_closed or len(self._idle) >= MAX_IDLE:
                connection.close()
            else:
                self._idle.append(connection)
        return status


@cache
def _tls_context() -> ssl.SSLContext:
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context
