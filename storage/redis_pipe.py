"""One Redis connection shared by all requests of a process, for the path of a decision.

Commands that are issued in the same turn of the event loop leave in one write, and replies are matched in order.
Compared with a pool of connections this takes an order of magnitude less CPU a round trip under load, a caller that
stops waiting costs nothing, and losing Redis is noticed once, not once a request.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import hiredis

from storage import functions
from storage.addresses import parse_redis
from storage.clock import SharedClock, shared
from storage.errors import FunctionsUnavailable, RedisUnavailable
from storage.failures import FailureLog
from storage.keys import INSTALLATION
from storage.redis_server import RedisServer
from storage.spans import BeginSpan, EndSpan

log = logging.getLogger(__name__)

Reply = Any

CLOCK_INTERVAL_S = 1.0
"""The time between two readings of the server's clock."""


class _Link(asyncio.Protocol):
    """One connection: packs commands, parses replies, resolves futures in order."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self.closed = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=_reply_error)
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                future, _ = self.waiting.popleft()
                if future.done():
                    continue  # its caller has stopped waiting; the reply had to be read all the same, to keep the order
                if isinstance(reply, RedisReplyError):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            log.error("redis sent what cannot be read: %s", error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for future, _ in self.waiting:
            if not future.done():
                future.set_exception(RedisUnavailable("the connection to redis was lost"))
        self.waiting.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def send(self, command: tuple[Any, ...]) -> "asyncio.Future[Reply]":
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.waiting.append((future, self._loop.time()))
        # The first command of a turn of the loop plans the write; all others of that turn leave with it.
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(command))
        return future

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _end_span(end: EndSpan, reply: "asyncio.Future[Reply]") -> None:
    end(None if reply.cancelled() else reply.exception())


class RedisReplyError(Exception):
    """Redis answered a command with an error."""


def _reply_error(message: str) -> RedisReplyError:
    return RedisReplyError(message)


class Pipe:
    """A connection that reconnects by itself; while it is down, commands fail at once.

    A server that has not answered for ``stall_ms`` is taken as gone, so callers are not held up one by one. One that
    must not be trusted with decisions is not used: ``refusal`` says why. ``clock`` goes by the server's clock.

    ``on_server`` is called with a function that sends commands when another server than before answers (or the same
    one, started again), before anybody else can send some: what the last one was told may not be known there.

    ``begin_span`` traces commands; ``None``: nobody does.
    """

    def __init__(
        self, url: str, *, stall_ms: int = 500, retry_ms: int = 50, clock: SharedClock = shared
    ) -> None:
        self.server = RedisServer()
        self.refusal: str | None = None
        self.on_server: Callable[[Callable[[tuple[Any, ...]], asyncio.Future[Reply]]], None] | None = None
        self.begin_span: BeginSpan | None = None
        self._clock = clock
        self._installation: str | None = None
        self._bar: str | None = None
        self._address = parse_redis(url)
        self._stall_s = stall_ms / 1000
        self._retry_s = retry_ms / 1000
        self._failures = FailureLog(log)
        self._link: _Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._version = functions.OURS.version
        self._told: set[str] = set()
        self.lacks_functions = asyncio.Event()
        """Set when Redis did not know a function; whoever loads them clears it."""

    @property
    def connected(self) -> bool:
        """True if commands can be sent now."""
        return self._link is not None and not self._link.closed.done()

    async def start(self) -> None:
        """Connect, and keep connected until ``stop``. Returns after the first try, connected or not."""
        first_try = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(first_try))
        await first_try.wait()

    async def stop(self) -> None:
        """Close the connection."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._link is not None:
            self._link.abort()
            self._link = None

    async def claim(self, installation: str) -> None:
        """Use servers of this installation only, and those that belong to none yet, which become its own."""
        self._installation = installation
        if self._link is not None and not self._link.closed.done():
            try:
                await self._check_owner(self._link)
            except (RedisUnavailable, RedisReplyError) as error:
                self.refusal = str(error)
                self._link.abort()

    def bar(self, reason: str | None) -> None:
        """Use no server, for a reason that no server tells; ``None``: use them again."""
        self._bar = reason
        if reason is not None:
            self.refusal = reason
            if self._link is not None:
                self._link.abort()
                self._link = None

    def call(self, *command: Any) -> "asyncio.Future[Reply]":
        """Send a command; the future gives the reply.

        Raises
        ------
        RedisUnavailable
            At once when there is no connection; from the future when the connection is lost before the reply.
        """
        # A link that was just lost is still here until the keeper wakes up.
        if self._link is None or self._link.closed.done():
            raise RedisUnavailable("redis cannot be reached")
        if self.begin_span is None:
            return self._link.send(command)
        end = self.begin_span("redis", *self._name(command))
        future = self._link.send(command)
        if end is not None:
            future.add_done_callback(partial(_end_span, end))
        return future

    def _name(self, command: tuple[Any, ...]) -> tuple[str, str | None]:
        """Name a command and, of a call of ours, the function: no more, since keys and arguments are data."""
        operation = str(command[0])
        function = str(command[1]).removesuffix(f"_{self._version}") if operation == "FCALL" else None
        return operation, function

    async def function(self, name: str, keys: Sequence[str], *arguments: Any) -> Reply:
        """Call a server-side step of this version.

        Raises ``RedisUnavailable`` as ``call`` does, or if Redis refuses for now; ``FunctionsUnavailable`` if it does
        not have the step, or that failed: then it is not known how far it came.
        """
        try:
            return await self.call("FCALL", f"{name}_{self._version}", len(keys), *keys, *arguments)
        except RedisReplyError as error:
            raise self.refusal_of(name, error) from error

    async def functions(
        self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]
    ) -> list[Reply | RedisUnavailable]:
        """Call a step several times in one write: the reply to each, or what ``function`` would have raised.

        ``calls``: the keys and the arguments of each.
        """
        step = f"{name}_{self._version}"
        replies = await self.call_all(
            [("FCALL", step, len(keys), *keys, *arguments) for keys, arguments in calls]
        )
        return [self.refusal_of(name, one) if isinstance(one, RedisReplyError) else one for one in replies]

    async def call_all(
        self, commands: Sequence[tuple[Any, ...]]
    ) -> list[Reply | RedisReplyError | RedisUnavailable]:
        """Send commands in one write: the reply to each, or the error."""
        try:
            calls = [self.call(*command) for command in commands]
        except RedisUnavailable as error:
            return [error] * len(commands)
        replies: list[Reply | RedisReplyError | RedisUnavailable] = []
        try:
            for call in calls:
                try:
                    replies.append(await call)
                except (RedisReplyError, RedisUnavailable) as error:
                    replies.append(error)
        finally:
            for call in calls[len(replies) :]:  # nobody waits for these any more
                call.cancel()
        return replies

    def refusal_of(self, name: str, error: RedisReplyError) -> RedisUnavailable:
        """Return what ``function`` raises for an error with which Redis answered a call of it."""
        said = str(error)
        if said.startswith("ERR Function not found"):
            self.lacks_functions.set()
            return FunctionsUnavailable(f"redis does not have {name} of this version")
        if said.startswith("ERR Error running") or "user_function" in said:
            if name not in self._told:  # once, not with every request
                self._told.add(name)
                log.error("a defect in %s: %s", name, said)
            return FunctionsUnavailable(f"{name} failed: {said}")
        return RedisUnavailable(f"redis refused {name}: {said}")

    async def _keep(self, first_try: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(max(self._stall_s, 1.0)):
                    link = await self._connect()
            except (OSError, TimeoutError, RedisReplyError, RedisUnavailable) as error:
                # It is tried many times a second. Each reason why a server is refused is told once.
                if self.refusal is not None:
                    said = self.refusal.replace("%", "%%")
                    self._failures.note(
                        "the connection to redis", f"redis is not used: {said}", level=logging.ERROR
                    )
                else:
                    self._failures.note(
                        "the connection to redis", "redis cannot be reached: %s", error, error=error
                    )
            else:
                self._failures.recovered("the connection to redis")
                self.refusal = None
                self._link = link
                first_try.set()
                await self._watch(link)
                self._link = None
                self._failures.note("a connection", "the connection to redis was lost")
            first_try.set()
            await asyncio.sleep(self._retry_s)

    async def _watch(self, link: _Link) -> None:
        loop = asyncio.get_running_loop()
        read_clock_at = loop.time() + CLOCK_INTERVAL_S
        while not link.closed.done():
            await asyncio.wait([link.closed], timeout=min(self._stall_s / 4, CLOCK_INTERVAL_S))
            if loop.time() >= read_clock_at:
                read_clock_at = loop.time() + CLOCK_INTERVAL_S
                self._read_clock(link)
            if link.waiting and loop.time() - link.waiting[0][1] > self._stall_s:
                # This loop may have been busy itself: let replies that have arrived be read before judging.
                oldest = link.waiting[0]
                await asyncio.sleep(0.01)
                if link.waiting and link.waiting[0] is oldest:
                    self._failures.note("replies", "redis has not answered for %.0f ms", self._stall_s * 1000)
                    link.abort()

    async def _connect(self) -> _Link:
        loop = asyncio.get_running_loop()
        address = self._address
        if address.path is not None:
            _, link = await loop.create_unix_connection(_Link, address.path)
        else:
            _, link = await loop.create_connection(_Link, address.host, address.port, ssl=address.tls)
        try:
            if address.password:
                user = (address.user,) if address.user else ()
                await link.send(("AUTH", *user, address.password))
            if address.database:
                await link.send(("SELECT", address.database))
            await self._meet(link)
        except BaseException:
            link.abort()
            raise
        return link

    async def _meet(self, link: _Link) -> None:
        """Learn which server it is, and whether it may be used. Raises ``RedisUnavailable`` if not."""
        if self._bar is not None:
            self.refusal = self._bar
            raise RedisUnavailable(self._bar)
        self._read_clock(link)
        try:
            server = RedisServer.parse(await link.send(("INFO",)))
        except RedisReplyError as error:  # a user who may not ask: then nothing is known of it
            log.warning("redis does not describe itself: %s", error)
            server = RedisServer()
        self.refusal = server.fault
        if server.fault is not None:
            raise RedisUnavailable(server.fault)
        if self._installation is not None:
            await self._check_owner(link)
        if self.on_server is not None and self.server.run_id not in ("", server.run_id):
            self.on_server(link.send)
        self.server = server

    async def _check_owner(self, link: _Link) -> None:
        assert self._installation is not None
        # Read first: a server that is full takes no writes, and knows its owner already.
        owner = await link.send(("GET", INSTALLATION))
        if owner is None:
            owner = await link.send(("SET", INSTALLATION, self._installation, "NX", "GET"))
        if owner is not None and owner.decode() != self._installation:
            self.refusal = (
                "this redis database belongs to another installation: give each a database of its own"
                f" (such as redis://host/1), or delete the key {INSTALLATION} if the other one is gone for good"
            )
            raise RedisUnavailable(self.refusal)

    def _read_clock(self, link: _Link) -> None:
        asked_ns = time.monotonic_ns()
        link.send(("TIME",)).add_done_callback(partial(self._note_time, asked_ns))

    def _note_time(self, asked_ns: int, reply: "asyncio.Future[Reply]") -> None:
        if not reply.cancelled() and reply.exception() is None:
            seconds, microseconds = reply.result()
            self._clock.follow(int(seconds) * 1_000_000 + int(microseconds), asked_ns)
