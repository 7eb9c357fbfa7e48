"""The log's other side: what background jobs read, fold, expire and trim."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from bandits.policy import NO_FACTS
from decisioning.errors import LogCodecError
from decisioning.log.codec import Said, base_propensity_text, expected_numbers, parse_entry
from decisioning.model.decision import LoggedDecision
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.functions import function_name
from storage.keys import Keys
from storage.redis import read_streams, redis_errors

NEARLY_FULL = 0.9
BATCH_ENTRIES = 4096
"""About the most entries that are read at once, of all buckets: what is done with a batch must not hold up others."""
REMEMBERED_ENTRIES = 2048
KEPT_READS = 2
"""Reads that are kept of each bucket, for learners that are nearly as far as the one that read."""
KEPT_S = 1.0
"""For so long at most a read is kept, and a learner waits for the turn of another."""
_UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, AttributeError)
"""The errors that entries of an unknown form raise when they are read."""


@dataclass(frozen=True, slots=True)
class UnreadEntry:
    """An entry that cannot be used, as it stands in its stream, and why."""

    bucket: int
    position: StreamPosition
    fields: Mapping[bytes, bytes]
    reason: str


Parsed = tuple[Said, list[Outcome]]
"""What an entry says, and what it teaches."""


def lessons_of(said: Said) -> list[Outcome]:
    """Return what an entry teaches."""
    if isinstance(said, LoggedDecision):
        return silences_of(said)
    return [] if isinstance(said, LoggedEvent) else said


Lessons = Sequence[tuple[StreamPosition, Sequence[Outcome]]]
"""What consecutive entries of a bucket teach, with their positions."""


@dataclass(frozen=True, slots=True)
class KeptRead:
    """A read of a bucket, of what lies behind a position. ``sent_s``: when Redis was asked for it (monotonic)."""

    sent_s: float
    behind: StreamPosition
    lessons: Lessons

    def after(self, position: StreamPosition) -> Lessons:
        """Return the part that follows a position; nothing if it is not one of this read."""
        if position == self.behind:
            return self.lessons
        places = (place for place, (at, _) in enumerate(self.lessons, 1) if at == position)
        return self.lessons[next(places, len(self.lessons)) :]


class ParsedEntries:
    """Entries that were parsed lately, so that all who read the log in one process parse each once.

    At least the last ``size`` are remembered, and at most twice as many. While learners are behind, what one of them
    read is also kept for the others, for a moment: they need not ask Redis for it, which costs them less, so that
    those that are up to ``KEPT_READS`` reads behind the first one catch up with it.
    """

    def __init__(self, size: int = REMEMBERED_ENTRIES) -> None:
        self._size = size
        self._turn = asyncio.Lock()
        self._reads: dict[int, deque[KeptRead]] = {}
        self._sent_s = 0.0
        self._young: dict[tuple[int, StreamPosition], tuple[Mapping[bytes, bytes], Parsed]] = {}
        self._old = self._young

    def parse(self, bucket: int, position: StreamPosition, fields: Mapping[bytes, bytes]) -> Parsed:
        """Return what an entry says. Raises what parsing raises."""
        at = bucket, position
        known = self._young.get(at) or self._old.get(at)
        # Compared, since a stream that was lost and begun anew may give out positions again.
        if known is not None and known[0] == fields:
            return known[1]
        said = parse_entry(bucket, position, fields)
        parsed = said, lessons_of(said)
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[at] = fields, parsed
        return parsed

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Let one learner after the other read a backlog, so that the next one finds what was kept.

        Nobody waits for longer than ``KEPT_S``: the one whose turn it is may be waiting for a Redis that is gone.
        """
        has_turn = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KEPT_S):
                has_turn = await self._turn.acquire()
        try:
            yield
        finally:
            if has_turn:
                self._turn.release()

    def keep(self, bucket: int, read: KeptRead) -> None:
        """Keep a read behind which there is more."""
        self._reads.setdefault(bucket, deque(maxlen=KEPT_READS)).append(read)
        self._sent_s = max(self._sent_s, read.sent_s)

    def kept(self, bucket: int, behind: StreamPosition, since_s: float) -> Lessons:
        """Return what follows a position, as far as it was asked for since then, and within ``KEPT_S``, and is kept."""
        since_s = max(since_s, time.monotonic() - KEPT_S)
        found = (read.after(behind) for read in self._reads.get(bucket, ()) if read.sent_s >= since_s)
        return next(filter(None, found), ())

    def drop_old(self) -> None:
        """Let go what was kept once no learner is behind any more."""
        if self._reads and time.monotonic() - self._sent_s > KEPT_S:
            self._reads.clear()


@dataclass(slots=True)
class Batch:
    """Entries of several buckets: the last position of each, what they say, and those that cannot be read.

    ``is_full``: there may be more, since as many came of a bucket as were asked for.
    """

    last: dict[int, StreamPosition] = field(default_factory=dict)
    decided: list[LoggedDecision] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    events: list[LoggedEvent] = field(default_factory=list)
    unread: list[UnreadEntry] = field(default_factory=list)
    is_full: bool = False

    def __len__(self) -> int:
        return len(self.decided) + len(self.outcomes) + len(self.events) + len(self.unread)

    def add(
        self,
        bucket: int,
        position: StreamPosition,
        fields: Mapping[bytes, bytes],
        decisions: bool,
        parsed: ParsedEntries,
    ) -> Sequence[Outcome]:
        """Add what an entry says, and return what it teaches; without ``decisions`` only that is added."""
        if fields.get(b"t") == b"start":
            return ()
        try:
            said, shown = parsed.parse(bucket, position, fields)
        except (LogCodecError, *_UNREADABLE) as error:
            # One that nobody can read must not hold up all that comes after it.
            self.unread.append(UnreadEntry(bucket, position, fields, str(error) or repr(error)))
            return ()
        self.outcomes.extend(shown)
        if decisions and isinstance(said, LoggedDecision):
            self.decided.append(said)
        elif decisions and isinstance(said, LoggedEvent):
            self.events.append(said)
        return shown

    def learn(self, bucket: int, lessons: Lessons) -> None:
        """Add what a part of a backlog teaches, of a bucket of which nothing was added."""
        for _, shown in lessons:
            self.outcomes.extend(shown)
        self.last[bucket] = lessons[-1][0]
        self.is_full = True


def _readable(bucket: int, position: StreamPosition, fields: Mapping[bytes, bytes]) -> Said | None:
    try:
        return parse_entry(bucket, position, fields)
    except (LogCodecError, *_UNREADABLE):
        return None


class LogReader:
    """Reads the streams of all buckets. ``parsed``: shared with other readers in the process, if there are some."""

    def __init__(self, redis: "Redis", keys: Keys, parsed: ParsedEntries | None = None) -> None:
        self.redis: Any = redis
        self._parsed = parsed or ParsedEntries()
        self._is_behind = False
        self._keys = keys
        self._buckets = {keys.log(bucket).encode(): bucket for bucket in range(keys.buckets)}

    async def read(
        self,
        positions: Mapping[int, StreamPosition],
        *,
        count: int,
        block_ms: int | None,
        decisions: bool,
        buckets: Collection[int] | None = None,
        kept_since_s: float | None = None,
    ) -> Batch:
        """Up to ``count`` entries of each bucket behind ``positions`` (missing means from the start).

        Fewer if that were more than about ``BATCH_ENTRIES`` in all. Waits up to ``block_ms`` for something to come.
        Without ``decisions`` only what they teach is returned. ``buckets``: at least one; ``None``: all.

        ``kept_since_s`` (monotonic): of a backlog, what a reader of this process has asked Redis for since then may be
        returned in place of what Redis has, without decisions: it may be fewer entries than there are. ``None``: Redis
        is always asked.

        Entries that cannot be read are in ``unread``, but for those of such an earlier read. Raises
        ``RedisUnavailable``.
        """
        asked = {
            b: positions.get(b, StreamPosition.START)
            for b in (range(self._keys.buckets) if buckets is None else buckets)
        }
        count = min(count, max(BATCH_ENTRIES // len(asked), 1))
        if kept_since_s is None:
            return await self._ask(asked, count, block_ms, decisions)
        was_behind, self._is_behind = self._is_behind, False
        if was_behind:
            async with self._parsed.turn():
                batch = await self._ask_rest(asked, count, None, kept_since_s)
        else:
            self._parsed.drop_old()
            batch = await self._ask_rest(asked, count, block_ms, kept_since_s)
        self._is_behind = batch.is_full
        return batch

    async def _ask_rest(
        self, asked: dict[int, StreamPosition], count: int, block_ms: int | None, since_s: float
    ) -> Batch:
        """Ask Redis for what is not kept, and keep that if there is more behind it."""
        found = Batch()
        for bucket in list(asked):
            if kept := self._parsed.kept(bucket, asked[bucket], since_s):
                found.learn(bucket, kept)
                del asked[bucket]
        if not asked:
            return found
        return await self._ask(asked, count, None if found.last else block_ms, False, found)

    async def _ask(
        self,
        asked: Mapping[int, StreamPosition],
        count: int,
        block_ms: int | None,
        decisions: bool,
        found: Batch | None = None,
    ) -> Batch:
        """Read from Redis. ``found``: what was kept, to which this is added, and in addition to which it is kept."""
        batch = Batch() if found is None else found
        sent_s = time.monotonic()
        streams = {self._keys.log(bucket): position for bucket, position in asked.items()}
        async with redis_errors():
            reply = await read_streams(self.redis, streams, count=count, block_ms=block_ms)
        for key, entries in reply:
            bucket = self._buckets[key]
            lessons = []
            for name, fields in entries:
                position = StreamPosition(name.decode())
                shown = batch.add(bucket, position, fields, decisions, self._parsed)
                lessons.append((position, shown))
            batch.last[bucket] = lessons[-1][0]
            if len(entries) >= count:
                batch.is_full = True
                if found is not None:
                    self._parsed.keep(bucket, KeptRead(sent_s, asked[bucket], lessons))
        return batch

    async def entry(self, bucket: int, position: StreamPosition) -> Mapping[bytes, bytes]:
        """Read an entry as it stands; empty if it is gone. Raises ``RedisUnavailable``."""
        async with redis_errors():
            found = await self.redis.xrange(self._keys.log(bucket), position, position)
        return found[0][1] if found else {}

    async def oldest_behind(self, positions: Mapping[int, StreamPosition]) -> int | None:
        """Return when the oldest entry behind ``positions`` was appended, in Unix ms; ``None`` if there is none."""
        oldest = []
        behind = {b: positions.get(b, StreamPosition.START) for b in range(self._keys.buckets)}
        count = 2
        while behind:
            async with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
                for bucket, position in behind.items():
                    pipe.xrange(self._keys.log(bucket), f"({position}", "+", count=count)
                replies = await pipe.execute()
            # An erasure leaves a marker in the place of each event, so there may be many before an entry.
            further = {}
            for bucket, entries in zip(behind, replies, strict=True):
                found = next((name for name, fields in entries if fields[b"t"] != b"start"), None)
                if found is not None:
                    oldest.append(StreamPosition(found.decode()).at_ms)
                elif len(entries) == count:
                    further[bucket] = StreamPosition(entries[-1][0].decode())
            behind, count = further, BATCH_ENTRIES
        return min(oldest, default=None)

    async def last_positions(self) -> dict[int, StreamPosition]:
        """The last position that each bucket's stream has given out; missing if there is no stream."""
        return {bucket: last for bucket in range(self._keys.buckets) if (last := await self._last(bucket))}

    async def _last(self, bucket: int) -> StreamPosition | None:
        async with redis_errors():
            if not await self.redis.exists(self._keys.log(bucket)):
                return None
            info = await self.redis.xinfo_stream(self._keys.log(bucket))
        return StreamPosition(info["last-generated-id"].decode())

    async def ends(self) -> dict[int, StreamPosition]:
        """The position of the last entry of each bucket that has one; quicker than ``last_positions``."""
        async with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for bucket in range(self._keys.buckets):
                pipe.xrevrange(self._keys.log(bucket), count=1)
            replies = await pipe.execute()
        return {b: StreamPosition(entries[0][0].decode()) for b, entries in enumerate(replies) if entries}

    async def without(self, positions: Mapping[int, StreamPosition]) -> set[int]:
        """Find the buckets whose stream has no entry at the given position."""
        # The entry at the archived position is kept by `trim` until a later one is archived, so a stream without it
        # has lost its end.
        async with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for bucket, position in positions.items():
                pipe.xrange(self._keys.log(bucket), position, position)
            replies = await pipe.execute()
        return {bucket for bucket, entries in zip(positions, replies, strict=True) if not entries}

    async def whole(self, bucket: int) -> tuple[StreamPosition, list[tuple[StreamPosition, Said | None]]]:
        """The last position that a bucket's stream has given out, and its entries by position up to there.

        ``None`` for an entry that cannot be read.
        """
        last = await self._last(bucket)
        if last is None:
            return StreamPosition.START, []
        async with redis_errors():
            entries = await self.redis.xrange(self._keys.log(bucket), "-", last)
        return last, [
            (position, _readable(bucket, position, fields))
            for position, fields in ((StreamPosition(name.decode()), fields) for name, fields in entries)
            if fields.get(b"t") != b"start"
        ]

    async def resume(
        self, bucket: int, last: StreamPosition, position: StreamPosition, keep: Sequence[StreamPosition]
    ) -> bool:
        """Make a stream go on behind ``position``, with those of its entries that are named in ``keep``.

        False, and nothing changed, if ``last`` is not the last position that the stream has given out.
        """
        async with redis_errors():
            keys = (self._keys.log(bucket), self._keys.decision(bucket, ""))
            reply = await self.redis.fcall(
                function_name("nb_resume"), len(keys), *keys, last, position, *keep
            )
        return bool(reply == b"ok")

    async def is_nearly_full(self) -> bool:
        """Return whether the server uses most of the memory that it may use. Raises ``RedisUnavailable``."""
        async with redis_errors():
            info = await self.redis.info("memory")
        return bool(info.get("maxmemory")) and info["used_memory"] > NEARLY_FULL * info["maxmemory"]

    async def trim(self, positions: Mapping[int, StreamPosition]) -> None:
        """Forget entries before ``positions``."""
        async with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for bucket, position in positions.items():
                pipe.xtrim(self._keys.log(bucket), minid=position, approximate=True)
            await pipe.execute()

    async def due(self, now_ms: int, limit: int) -> list[tuple[int, str]]:
        """Decisions whose reward window is over: ``(bucket, decision id)``, at most ``limit`` a bucket."""
        return await self._due(self._keys.pending, f"({now_ms}", limit)

    async def unconfirmed(self, now_ms: int, limit: int) -> list[tuple[int, str]]:
        """Decisions of which nobody said in time that they were presented, as for ``due``."""
        return await self._due(self._keys.unconfirmed, str(now_ms), limit)

    async def _due(self, key_of: Callable[[int], str], until: str, limit: int) -> list[tuple[int, str]]:
        async with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for bucket in range(self._keys.buckets):
                pipe.zrange(key_of(bucket), "-inf", until, byscore=True, offset=0, num=limit)
            replies = await pipe.execute()
        return [(bucket, name.decode()) for bucket, names in enumerate(replies) for name in names]

    async def release(self, due: Sequence[tuple[int, str]], now_ms: int) -> int:
        """Give back what unconfirmed decisions reserved; returns how many gave something back by this call."""
        keys = (self._keys.log, self._keys.unconfirmed, *self._of_contacts())
        return (await self._call_each("nb_release", due, keys, now_ms)).count(b"released")

    async def expire(self, due: Sequence[tuple[int, str]], now_ms: int, grace_ms: int) -> int:
        """Close decisions; returns how many were closed by this call."""
        return (await self._expire(due, now_ms, grace_ms, 0)).count(b"expired")

    async def expire_present(
        self, due: Sequence[tuple[int, str]], now_ms: int, grace_ms: int
    ) -> tuple[int, list[tuple[int, str]]]:
        """Close decisions; returns how many were closed, and those that have left Redis unclosed: they stay due."""
        replies = await self._expire(due, now_ms, grace_ms, 1)
        left = [one for one, reply in zip(due, replies, strict=True) if reply == b"left"]
        return replies.count(b"expired"), left

    async def _expire(
        self, due: Sequence[tuple[int, str]], now_ms: int, grace_ms: int, keep: int
    ) -> list[bytes]:
        keys = (self._keys.log, self._keys.pending, self._keys.unconfirmed, *self._of_contacts())
        return await self._call_each("nb_expire", due, keys, now_ms, grace_ms, keep)

    def _of_contacts(self) -> tuple[Callable[[int], str], ...]:
        return self._keys.contacts, self._keys.aliases, self._keys.handovers

    async def settle(self, bucket: int, decision_id: str) -> None:
        """Make a decision due no more."""
        async with redis_errors():
            await self.redis.zrem(self._keys.pending(bucket), decision_id)

    async def postpone(self, bucket: int, decision_id: str, until_ms: int) -> None:
        """Make a decision that is due, due later."""
        async with redis_errors():
            await self.redis.zadd(self._keys.pending(bucket), {decision_id: until_ms}, xx=True)

    async def _call_each(
        self,
        name: str,
        due: Sequence[tuple[int, str]],
        keys: Sequence[Callable[[int], str]],
        *arguments: int,
    ) -> list[bytes]:
        """Call a function for each decision with its own key and the ``keys`` of its bucket."""
        async with redis_errors(), self.redis.pipeline(transaction=False) as pipe:
            for bucket, decision_id in due:
                of_bucket = [key(bucket) for key in keys]
                own = self._keys.decision(bucket, decision_id)
                pipe.fcall(function_name(name), 1 + len(keys), own, *of_bucket, decision_id, *arguments)
            replies: list[bytes] = await pipe.execute()
        return replies


def silences_of(logged: LoggedDecision) -> list[Outcome]:
    """Return what a decision tells by itself: offers were shown, if nobody has to confirm it, and none is accepted."""
    decision = logged.decision
    if not decision.counts_silence or decision.presentation != "implicit":
        return []
    return [
        Outcome(
            bucket=logged.bucket,
            position=logged.position,
            decision_id=decision.decision_id,
            decided_at_ms=decision.decided_at_ms,
            offer_id=offer.offer_id,
            offer=number,
            outcome="shown",
            value=None,
            at_ms=decision.decided_at_ms,
            recorded_ms=decision.decided_at_ms,
            late=False,
            reward=None,
            # Read from the text that the other records of the decision have, so that both are the same number.
            base_propensity=float(base_propensity_text(logged.base_propensity(number))),
            policy=decision.policy.key,
            placement=decision.placement,
            estimate=estimate,
            worth=worth,
            facts=decision.facts or NO_FACTS,
            silence_ms=decision.decided_at_ms,
        )
        for offer, number, (estimate, worth) in zip(
            decision.offers, decision.numbers, expected_numbers(decision), strict=True
        )
    ]
