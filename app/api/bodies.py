"""Bodies of requests while they come in: bounded in size, in time, and in memory for all of them together."""

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Problem

BODY_S = 10.0
"""A body that is kept in memory has to be complete within this time."""
SILENCE_S = 30.0
"""A file may take as long as it needs, but no pause of it may be longer."""
MAX_WAITING_BYTES = 64 << 20
"""Bodies that are not complete yet may take so much of a process, all together."""


@dataclass(slots=True)
class WaitingBodies:
    """The bytes of all bodies of this process that are not complete yet."""

    most: int = MAX_WAITING_BYTES
    body_s: float = BODY_S
    silence_s: float = SILENCE_S
    waiting: int = 0

    def bound(self, receive: Receive, limit: int, *, in_memory: bool) -> "BoundedBody":
        """Bound one body to ``limit`` bytes; ``in_memory``: it is collected, not written to a file as it comes."""
        return BoundedBody(self, receive, limit, in_memory)

    async def run(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, limit: int, *, in_memory: bool
    ) -> None:
        """Run a request of ``app`` with its body bounded."""
        body = self.bound(receive, limit, in_memory=in_memory)
        try:
            await app(scope, body, send)
        finally:
            body.close()


class BoundedBody:
    """The ``receive`` of one request, with a body that comes in time or not at all.

    Raises ``Problem``: 413 if it is too long, 408 if it does not come, 503 if too much of others is waiting.
    """

    __slots__ = ("_bodies", "_complete", "_ends", "_in_memory", "_limit", "_receive", "_taken")

    def __init__(self, bodies: WaitingBodies, receive: Receive, limit: int, in_memory: bool) -> None:
        self._bodies = bodies
        self._receive = receive
        self._limit = limit
        self._in_memory = in_memory
        self._complete = False
        self._taken = 0
        self._ends: float | None = None

    async def __call__(self) -> Message:
        """Receive the next message."""
        # What comes behind the body says that the client is gone, and is waited for as long as it takes to answer.
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._in_memory:
            ends = now + self._bodies.silence_s
        else:
            ends = self._ends = now + self._bodies.body_s if self._ends is None else self._ends
        try:
            async with asyncio.timeout_at(ends):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "the body did not come in time") from None
        size = len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        # A part that is there at once is not waited for, so nothing was interrupted.
        if not self._complete and loop.time() > ends:
            raise Problem(408, "the body did not come in time")
        self._taken += size
        if self._taken > self._limit:
            raise Problem(413, f"the body is longer than the {self._limit} bytes that are taken")
        if self._complete:
            self._release(self._taken - size)
        elif self._in_memory:
            self._bodies.waiting += size
            if self._bodies.waiting > self._bodies.most:
                busy = Problem(503, "too many bodies of other requests are not complete yet; try again")
                busy.headers = {"Connection": "close"}  # what still comes of this one is not waited for
                raise busy
        return message

    def close(self) -> None:
        """Give back what an unfinished body takes; to be called when the request is over."""
        if not self._complete:
            self._complete = True
            self._release(self._taken)

    def _release(self, size: int) -> None:
        if self._in_memory:
            self._bodies.waiting -= size
