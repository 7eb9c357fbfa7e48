"""A bell that Postgres rings when there are new firings, so that nobody has to look again and again."""

import asyncio
from typing import Any

import asyncpg

from storage.postgres import POSTGRES_ERRORS, connector

CHANNEL = "nextbest_firings"


class FiringBell:
    """Waits for firings on a connection of its own. Without one it is only known by looking: it waits its time."""

    def __init__(self, postgres_url: str) -> None:
        self._connect = connector(postgres_url, timeout=2, command_timeout=2)
        self._connection: asyncpg.Connection | None = None
        self._rung = asyncio.Event()

    def ring(self, *_: Any) -> None:
        """Wake up who waits."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something new, or after so many seconds."""
        await self._listen()
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return
        finally:
            self._rung.clear()

    async def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def _listen(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            return
        try:
            self._connection = await self._connect()
            await self._connection.add_listener(CHANNEL, self.ring)
        except POSTGRES_ERRORS:
            await self.close()
        else:
            self._rung.set()  # what came while nobody listened
