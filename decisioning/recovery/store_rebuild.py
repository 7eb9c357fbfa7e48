"""Rebuilding what a lost Redis held, from the log in Postgres: arms, contact history, decisions that still wait.

Safe while the system runs. What is still in the streams behind the archived positions is folded again by the learner,
whose earlier readings are void.

Redis may also have lost only the end of what it was told (a power loss, with ``appendfsync everysec``). Then streams
end before what is archived, while clients may already have added to them.
"""

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.contact.history import KeptContact, LoggedOutcome, contacts_of_decision
from decisioning.events.store_archive import EventArchive
from decisioning.events.store_events import kept_ms
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_warm_start import fold_archive, reset_arms
from decisioning.log.codec import Said, history_member, parse_causes, waiting_fields
from decisioning.log.households.store_contacts import reservation_note
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_partitions import in_months
from decisioning.log.store_redis import GRACE_MS, owner_note, owner_ttl_ms
from decisioning.log.store_sql import decision_of_row
from decisioning.log.store_stream import LogReader
from decisioning.merging.store_aliases import Alias, AliasStore
from decisioning.model.decision import LoggedDecision
from decisioning.model.logged_event import EventKey, LoggedEvent
from decisioning.model.outcome import BUILT_IN, Identity
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.recovery.store_aliases import AliasRestorer
from decisioning.recovery.store_events import EventRestorer, Kept
from profiles.events.fold import fold
from storage.clock import to_ms
from storage.errors import RedisUnavailable
from storage.functions import function_name
from storage.keys import Keys, bucket_of_generated
from storage.locks import ARCHIVER_LOCK
from storage.postgres import transaction
from storage.redis import redis_errors
from storage.redis_server import RedisServer

log = logging.getLogger(__name__)

BATCH_SIZE = 500
ANSWERS = ("accepted", "rejected")
MAX_PASSES = 100
SETTLE_S = 2
"""So long after its start is a server's history taken as whole at the earliest."""

_DECISIONS = """
SELECT d.decision_id, d.decided_at, d.customer_id, d.bucket, d.position, d.header::text AS header,
    (d.header ->> 'until_ms')::bigint AS header_until_ms, d.candidates, d.priors, d.factors,
    ARRAY(
        SELECT l.signal_id FROM lifted_signals AS l
        WHERE l.customer_id = d.customer_id AND l.lifted_ms >= (d.header ->> 'decided_at_ms')::bigint
    ) AS lifted,
    coalesce((
        SELECT CASE WHEN bool_or(x.outcome <> 'withdrawn') THEN 'expired' ELSE 'withdrawn' END FROM outcomes x
        WHERE x.decision_id = d.decision_id AND x.decided_at = d.decided_at
            AND x.outcome IN ('expired', 'closed', 'withdrawn') HAVING count(*) > 0
    ), 'open') AS state
FROM decisions d
WHERE d.header ->> 'source' = 'live'
    AND (
        (d.header ->> 'until_ms')::bigint > :until_ms
        OR (d.header ->> 'decided_at_ms')::bigint > :contacts_from_ms
        OR (d.decision_id, d.decided_at) IN (
            SELECT x.decision_id, x.decided_at FROM outcomes x
            WHERE x.outcome IN ('presented', 'clicked', 'accepted', 'rejected')
                AND least(x.at_ms, x.recorded_ms) > :contacts_from_ms
        )
    )
"""

_OUTCOMES = """
SELECT decision_id, decided_at, offer_id, outcome, at_ms, recorded_ms, position, silence_ms, late, earned, causes
FROM outcomes
WHERE decision_id = ANY(:ids) AND outcome NOT IN ('shown', 'expired', 'closed', 'withdrawn'){months}
"""


@dataclass(slots=True)
class Rebuilt:
    """The result of a rebuild: observations by policy, decisions that were missing, streams that had lost their end.

    ``customers``: those of whom events are archived that still matter.
    """

    observations: dict[str, int]
    decisions: int = 0
    streams: int = 0
    customers: int = 0


class Rebuilder:
    """Puts back what Redis lost."""

    def __init__(
        self,
        engine: AsyncEngine,
        redis: "Redis",
        keys: Keys,
        roster: Roster,
        catalogues: CatalogueStore,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._catalogues = catalogues
        self._clock_ms = clock_ms
        self._redis = redis
        self._keys = keys
        self._roster = roster
        self._feed = RosterFeed(PolicyStore(engine), roster)
        self._reader = LogReader(redis, keys)
        self._arms = ArmStore(redis, keys)
        self._archive = ArchiveReader(engine)
        self._events = EventArchive(engine)
        self._decisions = DecisionRestorer(engine, redis, keys)
        self._aliases = AliasRestorer(AliasStore(engine), redis, keys, clock_ms)

    async def lost(self) -> bool:
        """Return whether Redis is behind Postgres: buckets are not whole, or arms are older than their archived folds.

        It may be wrong while an archiver is at work, but not the other way.
        """
        await self._feed.refresh()
        folds = {key: await self._archive.last_fold(key) for key in self._feed.live()}
        archived = await self._archive.positions()
        if not all(await self._marks()) or await self._reader.without(archived):
            return True
        epochs = {key: await self._arms.load_epoch(key) for key in folds}
        return any(epoch is None or epoch < folds[key] for key, epoch in epochs.items())

    async def _vouch(self) -> None:
        """Mark buckets as whole for a server that was started since they were marked last, and has lost nothing.

        Not at once: API processes may have to tell it first what it was not told, or has forgotten.
        """
        server = await self._server()
        marks = await self._marks()
        if server.uptime_s >= SETTLE_S and any(mark != (server.run_id or "1") for mark in marks):
            await self._mark(range(self._keys.buckets), whole=True)

    async def restore_if_lost(self) -> Rebuilt | None:
        """Rebuild if ``lost`` says so; ``None`` if there was nothing to do, or it cannot be done just now.

        Raises as ``rebuild``.
        """
        if not await self.lost():
            await self._vouch()
            return None
        async with self._archiving_stopped("SELECT pg_try_advisory_xact_lock(:lock)") as stopped:
            if not stopped or not await self.lost():
                return None
            rebuilt = await self._rebuild()
        log.warning("redis was behind postgres; rebuilt: %s", rebuilt)
        return rebuilt

    async def rebuild(self) -> Rebuilt:
        """Rebuild everything.

        Raises ``RedisUnavailable`` or ``PostgresUnavailable`` if a store does not answer; it may be run again.
        """
        async with self._archiving_stopped("SELECT pg_advisory_xact_lock(:lock) IS NOT NULL"):
            return await self._rebuild()

    @asynccontextmanager
    async def _archiving_stopped(self, query: str) -> AsyncIterator[bool]:
        # So the archived positions do not move, and nothing is trimmed behind them.
        async with transaction(self._engine) as connection:
            yield bool(await connection.scalar(text(query), {"lock": ARCHIVER_LOCK}))

    async def _rebuild(self) -> Rebuilt:
        rebuilt = Rebuilt({})
        catalogue = await self._catalogues.load()
        history_ms = catalogue.history_ms
        archived = await self._archive.positions()
        ended = await self._reader.without(archived)
        # Unmarked until all is done, so that a rebuild that is broken off is done again.
        await self._mark(ended, whole=False)
        for bucket in sorted(ended):
            await self._resume(bucket, archived[bucket])
            rebuilt.streams += 1
        known = await self._aliases.recent()
        await self._aliases.redirect()
        rebuilt.decisions = await self._decisions.restore(self._clock_ms(), history_ms)
        rebuilt.customers = await self._rebuild_events(catalogue, archived)
        await self._aliases.hand_over()
        await self._rebuild_merged(catalogue, archived, known)
        await self._feed.refresh()
        # Without those that are still being warmed up: whoever does it notices, and starts anew.
        for key in self._feed.live():
            rebuilt.observations[key] = await self._rebuild_arms(key, archived)
        # An emptied Redis has no marks: until they are there, offers with contact limits are withheld.
        await self._mark(range(self._keys.buckets), whole=True)
        return rebuilt

    async def _server(self) -> RedisServer:
        async with redis_errors():
            info = await self._redis.info()
        return RedisServer.from_info({name: str(value) for name, value in info.items()})

    async def _marks(self) -> list[str]:
        names = [self._keys.whole(bucket) for bucket in range(self._keys.buckets)]
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.get(name)
            return [(mark or b"").decode() for mark in await pipe.execute()]

    async def _mark(self, buckets: Iterable[int], *, whole: bool) -> None:
        run_id = (await self._server()).run_id if whole else ""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for bucket in buckets:
                if whole:
                    # By a function: a Redis that is full takes no plain write, and must drain.
                    pipe.fcall(function_name("nb_mark_whole"), 1, self._keys.whole(bucket), run_id or "1")
                else:
                    pipe.delete(self._keys.whole(bucket))
            await pipe.execute()

    async def _resume(self, bucket: int, position: StreamPosition) -> None:
        """Let a stream go on behind the archived position, with those of its entries that are not archived."""
        while True:
            last, entries = await self._reader.whole(bucket)
            known = await self._archived_of([entry for _, entry in entries if entry is not None])
            # None may be skipped, and none counted twice.
            # What cannot be read is kept for the archiver, which sets it aside, if it has not yet.
            keep = [at for at, entry in entries if entry is None or not _identities(entry) <= known]
            if await self._reader.resume(bucket, last, position, keep):
                return

    async def _archived_of(self, entries: Sequence[Said]) -> set[Identity | EventKey]:
        """Find out what of these entries is archived."""
        events = {entry.key for entry in entries if isinstance(entry, LoggedEvent)}
        others = [entry for entry in entries if not isinstance(entry, LoggedEvent)]
        decisions = {str(identity[0]) for entry in others for identity in _identities(entry)}
        return {*await self._archive.among(decisions), *await self._events.among(events)}

    async def _rebuild_merged(
        self, catalogue: Catalogue, archived: Mapping[int, StreamPosition], known: Mapping[str, Alias]
    ) -> None:
        """Put back once more what became part of a customer while it was put back. ``known``: aliases of before."""
        # Whoever is merged after both were put back needs nothing: the merge hands over all there is. So each pass is
        # about fewer than the one before.
        seen = set(known)
        names: set[str] | None = None
        for _ in range(MAX_PASSES):
            new = [one for name, one in (await self._aliases.recent()).items() if name not in seen]
            seen.update(one.alias for one in new)
            names = await self._aliases.merged_beside(new, names)
            if not names:
                return
            await self._rebuild_events(catalogue, archived, names)
            await self._aliases.hand_over([one for one in new if one.alias in names])
        raise RedisUnavailable("visitors were merged whenever they were put back; try again")

    async def _rebuild_events(
        self,
        catalogue: Catalogue,
        archived: Mapping[int, StreamPosition],
        names: Collection[str] | None = None,
    ) -> int:
        definitions = catalogue.event_definitions
        kept = Kept(kept_ms(definitions), catalogue.history_ms)
        restorer = EventRestorer(
            self._events,
            AliasStore(self._engine),
            self._redis,
            self._keys,
            partial(fold, definitions),
            kept,
            self._clock_ms(),
        )
        return await restorer.restore(archived, names)

    async def _rebuild_arms(self, key: str, archived: Mapping[int, StreamPosition]) -> int:
        folded = await fold_archive(self._archive, self._roster, key, archived)
        while not await reset_arms(self._arms, self._archive, self._keys, folded, archived):
            pass  # somebody has folded meanwhile, so the arms are ahead of these positions
        return folded.taught


def _identities(entry: Said) -> set[Identity | EventKey]:
    if isinstance(entry, LoggedEvent):
        return {entry.key}
    if isinstance(entry, LoggedDecision):
        return {entry.decision.identity}
    return {outcome.identity for outcome in entry}


class DecisionRestorer:
    """Works beside a running system: what is in Redis already is completed, never replaced."""

    def __init__(self, engine: AsyncEngine, redis: "Redis", keys: Keys) -> None:
        self._engine = engine
        self._redis: Any = redis
        self._keys = keys

    async def restore(self, now_ms: int, history_ms: int) -> int:
        """Put everything back; returns how many decisions were missing.

        ``history_ms`` is the longest contact window. Raises ``RedisUnavailable`` or ``PostgresUnavailable``.
        """
        restored = 0
        async with transaction(self._engine) as connection:
            rows = await connection.stream(
                text(_DECISIONS),
                {"contacts_from_ms": now_ms - history_ms, "until_ms": now_ms - GRACE_MS},
                execution_options={"yield_per": BATCH_SIZE},
            )
            async for part in rows.partitions(BATCH_SIZE):
                outcomes = await _outcomes(connection, part)
                restored += await self._put_back(part, outcomes, now_ms, history_ms)
        return restored

    async def _put_back(
        self, rows: Sequence[Any], outcomes: Mapping[Any, Sequence[Any]], now_ms: int, history_ms: int
    ) -> int:
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for row in rows:
                logged, bucket = decision_of_row(row), self._keys.bucket(row.customer_id)
                if row.state == "open" and bucket_of_generated(row.decision_id) is None:
                    owner = owner_note(bucket, row.customer_id, row.decision_id)
                    ttl_ms = owner_ttl_ms(int(row.header_until_ms) - now_ms)
                    pipe.set(self._keys.owner(row.decision_id), owner, nx=True, px=ttl_ms)
                keys = (
                    self._keys.decision(bucket, row.decision_id),
                    self._keys.pending(bucket),
                    self._keys.contact(row.customer_id),
                    self._keys.withdrawal(bucket, row.decision_id),
                    self._keys.unconfirmed(bucket),
                )
                found = outcomes.get((row.decision_id, row.decided_at), ())
                kept = [
                    one
                    for one in contacts_of_decision(logged.decision, _told(found), lifted=row.lifted)
                    if one.contact.at_ms > now_ms - history_ms
                ]
                arguments = _arguments(row, logged, found, kept, now_ms, history_ms)
                pipe.fcall(function_name("nb_restore"), 5, *keys, *arguments)
                household_id = logged.decision.household
                if household_id is not None and row.state != "withdrawn":
                    names = (
                        self._keys.household(household_id),
                        self._keys.reservations(self._keys.bucket(household_id)),
                    )
                    # What Redis knows of an open decision may be newer than what is archived.
                    due = now_ms if row.state == "open" else ""
                    note = reservation_note(bucket, row.decision_id, household_id)
                    pipe.fcall(
                        function_name("nb_keep_in_household"),
                        len(names),
                        *names,
                        *(note, due, "GT", history_ms),
                        *_decided_contacts(kept, row.decision_id),
                    )
            return sum(reply == b"restored" for reply in await pipe.execute())


async def _outcomes(connection: AsyncConnection, decisions: Sequence[Any]) -> Mapping[Any, Sequence[Any]]:
    """Read the outcomes of decisions, from the partitions of their months only."""
    found: dict[Any, list[Any]] = defaultdict(list)
    times_ms = [to_ms(row.decided_at) for row in decisions]
    query = _OUTCOMES.format(months=in_months(min(times_ms), max(times_ms)))
    for row in await connection.execute(text(query), {"ids": [row.decision_id for row in decisions]}):
        found[row.decision_id, row.decided_at].append(row)
    return found


def _told(outcomes: Sequence[Any]) -> list[LoggedOutcome]:
    return [
        LoggedOutcome(
            o.offer_id,
            o.outcome,
            o.at_ms,
            o.recorded_ms,
            StreamPosition(o.position),
            parse_causes(o.causes or ""),
        )
        for o in outcomes
    ]


def _decided_contacts(kept: Sequence[KeptContact], decision_id: str) -> list[Any]:
    """Write the contacts that limits per household count: time and member of each."""
    decided = [one.contact for one in kept if one.contact.kind == "d"]
    return [part for one in decided for part in (one.at_ms, history_member(one, decision_id))]


def _arguments(
    row: Any,
    logged: LoggedDecision,
    outcomes: Sequence[Any],
    kept: Sequence[KeptContact],
    now_ms: int,
    history_ms: int,
) -> list[Any]:
    """Make the arguments of ``nb_restore``."""
    decision = logged.decision
    is_open = row.state == "open" and decision.until_ms > now_ms - GRACE_MS
    state = "expired" if row.state == "open" and not is_open else row.state
    confirm_ms = None if decision.contacts is None else decision.contacts.confirm_until_ms
    if any(o.outcome == "released" for o in outcomes):
        confirm_ms = None
    arguments: list[Any] = [
        row.decision_id,
        decision.until_ms,
        max(decision.until_ms - now_ms, 0) + GRACE_MS,
        history_ms,
        decision.decided_at_ms,
        state,
        "" if confirm_ms is None else confirm_ms,
        len(kept),
    ]
    for one in kept:
        arguments += (
            one.offer_id if one.reserved else "",
            one.contact.at_ms,
            history_member(one.contact, row.decision_id),
        )
    for outcome in outcomes:
        is_release = outcome.outcome == "released"
        name = f"rel:{outcome.offer_id}" if is_release else f"r:{outcome.offer_id}:{outcome.outcome}"
        arguments += (name, outcome.recorded_ms)
        if outcome.late and outcome.outcome in ("accepted", "rejected"):
            arguments += (f"l:{outcome.offer_id}", 1)
        if is_release or outcome.outcome in ANSWERS:
            continue
        if outcome.outcome not in BUILT_IN:
            arguments += (f"own:{outcome.offer_id}", outcome.recorded_ms)
        if outcome.silence_ms is not None:
            arguments += (f"z:{outcome.offer_id}", outcome.silence_ms)
    # What was earned last: each says all that was earned before it.
    earned = {o.offer_id: o.earned for o in sorted(outcomes, key=_place_in_log) if o.earned}
    for offer_id, amounts in earned.items():
        arguments += (f"g:{offer_id}", amounts)
    fields = waiting_fields(logged) if is_open else {}
    return [*arguments, "", *(part for pair in fields.items() for part in pair)]


def _place_in_log(outcome: Any) -> tuple[int, int]:
    return StreamPosition(outcome.position).parts
