"""A gate in front of a server, which tests shut to see what happens when the server is gone."""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

ACCEPTING_TURNS = 3
"""Turns of the event loop from accepting a connection to the first step of the task that serves it."""


class Gate:
    """Passes bytes to a server while it is open. ``url`` is the server's URL with the gate in its place."""

    def __init__(self, url: str, folder: Path) -> None:
        self._folder = folder
        self._port: int | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._target = url
        self._swallows = False
        self._draw_delay_s: Callable[[], float] | None = None
        self.url = url

    async def open(self) -> None:
        """Let callers through, from now on."""
        if self._target.startswith("postgresql://"):
            found = re.search(r"host=([^&]+)&port=(\d+)", self._target)
            assert found is not None
            self._socket = f"{unquote(found[1])}/.s.PGSQL.{found[2]}"
            path = self._folder / f".s.PGSQL.{found[2]}"
            path.unlink(missing_ok=True)
            self._listener = await asyncio.start_unix_server(self._connected, path)
            self.url = self._target.replace(f"host={found[1]}", f"host={quote(str(self._folder))}")
        else:
            self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self._port or 0)
            self._port = self._listener.sockets[0].getsockname()[1]
            self.url = self._target.replace(f":{urlsplit(self._target).port}/", f":{self._port}/")

    async def shut(self) -> None:
        """Break all connections, and take no new ones."""
        if self._listener is not None:
            loop = asyncio.get_running_loop()
            for listening in self._listener.sockets:
                loop.remove_reader(listening.fileno())
            # What has been accepted becomes a line within these turns; a closed listener would leak its socket.
            for _ in range(ACCEPTING_TURNS):
                await asyncio.sleep(0)
            self._listener.close()
            for line in list(self._lines):
                line.cancel()
            await asyncio.gather(*self._lines, return_exceptions=True)
            await asyncio.sleep(0)  # aborted connections are closed in the next turn of the loop
            self._listener = None

    def swallow(self) -> None:
        """Be a black hole from now on: connections are taken and stay open, and nothing is passed on."""
        self._swallows = True

    def delay(self, draw_s: Callable[[], float] | None) -> None:
        """Hold back what is passed on, in its order, as long as ``draw_s`` says each time (s); ``None``: no more."""
        self._draw_delay_s = draw_s

    async def relent(self) -> None:
        """Let callers through again; connections of which something was swallowed are broken."""
        self._swallows = False
        await self.shut()
        await self.open()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if self._target.startswith("postgresql://"):
                inner = await asyncio.open_unix_connection(self._socket)
            else:
                inner = await asyncio.open_connection("127.0.0.1", urlsplit(self._target).port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, inner[1]))
                    both.create_task(self._pass_on(inner[0], writer))
            finally:
                inner[1].transport.abort()
        writer.transport.abort()
        self._lines.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self._draw_delay_s is not None:
                    await asyncio.sleep(self._draw_delay_s())
                if not self._swallows:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@asynccontextmanager
async def gate(url: str | None) -> AsyncIterator[Gate]:
    """An open gate in front of the server at ``url``."""
    assert url is not None
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        made = Gate(url, Path(folder))
        await made.open()
        try:
            yield made
        finally:
            await made.shut()
