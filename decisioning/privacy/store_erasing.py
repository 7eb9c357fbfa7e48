"""A customer's part of the log, put under a pseudonym: the archive, streams, waiting decisions and contacts.

While it works nothing is archived, so no entry slips from a stream into the archive as it was.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bandits.policy import NO_FACTS
from decisioning.errors import LogCodecError
from decisioning.log.codec import (
    decode_decision,
    encode_decision,
    event_mark,
    facts_text,
    maker_of,
    parse_facts,
)
from decisioning.log.households.store_contacts import reservation_note
from decisioning.log.owners import GRACE_MS, is_owner
from decisioning.log.store_partitions import in_months
from decisioning.merging.store_aliases import AliasStore
from decisioning.model.decision import Decision
from decisioning.privacy.entries import StreamEntry, is_event_of
from decisioning.privacy.generalising import Generaliser
from decisioning.privacy.pseudonym import PREFIX, pseudonymise, pseudonymise_unreadable
from decisioning.privacy.store_customer_log import CustomerLog
from decisioning.privacy.store_outboxes import Outboxes
from decisioning.privacy.store_set_aside import SetAside
from storage.clock import to_ms
from storage.functions import function_name
from storage.keys import Keys, bucket_of_generated
from storage.locks import ARCHIVER_LOCK, TRIGGER_SEEDS_LOCK, TRIGGERS_LOCK
from storage.postgres import transaction
from storage.redis import redis_errors

BATCH_SIZE = 500
MAX_PASSES = 5
"""Passes over a stream, should decisions be made for the customer meanwhile."""

_ARCHIVED = text("""
SELECT decision_id, decided_at, header::text AS header FROM decisions WHERE customer_id = :customer_id
ORDER BY decided_at, decision_id LIMIT :most
""")
_NAMED = "unnest(cast(:ids AS text[]), cast(:times AS timestamptz[]), cast(:values AS text[])) AS n (id, at, value)"
_DECISIONS = f"""
UPDATE decisions AS d SET customer_id = :pseudonym, header = cast(n.value AS jsonb) FROM {_NAMED}
WHERE d.decision_id = n.id AND d.decided_at = n.at {{months}}
"""
_FACTS = """
SELECT DISTINCT decision_id, decided_at, facts::text AS facts FROM outcomes
WHERE decision_id = ANY(:ids) AND decided_at = ANY(cast(:times AS timestamptz[])) AND facts IS NOT NULL {months}
"""
_OUTCOMES = f"""
UPDATE outcomes AS o SET facts = cast(n.value AS jsonb) FROM {_NAMED}
WHERE o.decision_id = n.id AND o.decided_at = n.at AND o.facts IS NOT NULL {{months}}
"""
# Messages of errors may quote a value: of those of shadows their kinds stay.
_SHADOWS = text("""
UPDATE shadow_choices SET error = split_part(error, ':', 1)
WHERE decided_at = ANY(cast(:times AS timestamptz[])) AND decision_id = ANY(:ids) AND error LIKE '%:%'
""")
_TESTS = text("UPDATE canary_customers SET customer_id = :pseudonym WHERE customer_id = :customer_id")
# Of a day that is being rolled up, the customer may be in what is not to be seen yet: it is begun anew.
_UNMARK_DAYS = text("DELETE FROM rolled_up_days WHERE NOT done")
_DAYS = text("UPDATE asked_days SET customer_id = :pseudonym WHERE customer_id = :customer_id")
_FIRED = text("UPDATE fired_customers SET customer_id = :pseudonym WHERE customer_id = :customer_id")
_EVENTS = text("DELETE FROM events WHERE customer_id = :customer_id")
_SHARED_EVENTS = text(
    "SELECT event_id, household_id FROM events WHERE customer_id = :customer_id AND household_id IS NOT NULL"
)
# The household of an alias counts for its customer, who is the one that is erased, or not.
_LIVED_IN = text("""
SELECT home FROM unnest(cast(:homes AS text[])) AS home
WHERE EXISTS (SELECT FROM customers AS c WHERE c.household_id = home)
    OR EXISTS (SELECT FROM aliases AS a WHERE a.household_id = home AND a.alias <> ALL(cast(:own AS text[])))
""")
_TRIGGERS = ("trigger_firings", "trigger_waits")
_DROP_LETTER = text("DELETE FROM dead_letters WHERE bucket = :bucket AND position = :position")


@dataclass(slots=True)
class ErasedLog:
    """Counts of what was put under a pseudonym, by where it stood.

    ``inexact``: decisions whose facts some policy may read in another way since.
    """

    decisions: int = 0
    events: int = 0
    stream_entries: int = 0
    waiting_decisions: int = 0
    set_aside: int = 0
    canary_tests: int = 0
    trigger_firings: int = 0
    trigger_waits: int = 0
    inexact: int = 0


@dataclass(slots=True)
class _Erasing:
    """One erasure. ``ids``: all decisions of the customer; ``waiting``: header and facts of those that may wait.

    ``shared``: the decisions and events in histories of households, by household, with the ids that they get there.
    """

    customer_id: str
    pseudonym: str
    bucket: int
    now_ms: int
    done: ErasedLog = field(default_factory=ErasedLog)
    ids: set[str] = field(default_factory=set)
    waiting: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    shared: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def share(self, household_id: str, contact_id: str) -> None:
        """Note that contacts of a decision or an event are in the history of a household."""
        self.shared[household_id].setdefault(contact_id, PREFIX + os.urandom(16).hex())


class LogEraser:
    """Puts customers under pseudonyms. Raises ``PostgresUnavailable`` and ``RedisUnavailable``: it may be repeated."""

    def __init__(self, engine: AsyncEngine, redis: Redis, keys: Keys, generaliser: Generaliser) -> None:
        self._engine = engine
        self._redis: Any = redis
        self._keys = keys
        self._log = CustomerLog(engine, redis, keys)
        self._set_aside = SetAside(engine)
        self._outboxes = Outboxes(redis)
        self._aliases = AliasStore(engine)
        self._generaliser = generaliser

    async def erase(self, customer_id: str, now_ms: int) -> tuple[ErasedLog, set[str]]:
        """Erase a customer from the log. Returns how much, and the ids of the customer's decisions."""
        bucket = self._keys.bucket(customer_id)
        job = _Erasing(customer_id, self._new_pseudonym(bucket), bucket, now_ms)
        async with transaction(self._engine) as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ARCHIVER_LOCK})
            await self._erase_archived(connection, job)
            await self._read_set_aside(job)
            await self._find_shared(connection, job)
            await self._erase_shared(job)
            values = {"pseudonym": job.pseudonym, "customer_id": customer_id}
            await connection.execute(_UNMARK_DAYS)
            await connection.execute(_DAYS, values)
            job.done.canary_tests = (await connection.execute(_TESTS, values)).rowcount
            job.done.events = (await connection.execute(_EVENTS, {"customer_id": customer_id})).rowcount
            for _ in range(MAX_PASSES):
                if not await self._erase_stream(job):
                    break
                await self._erase_waiting(job)
            await self._erase_waiting(job)
            # Once more: what waited may have given its household a contact back until then.
            await self._erase_shared(job)
            await self._leave_homes(connection, job)
            for table, count in (await self._delete_triggers(connection, customer_id)).items():
                setattr(job.done, table, count)
            # Behind the right to fire, which that takes: no more can come.
            await connection.execute(_FIRED, values)
            # Behind the streams, which tell of decisions that something set aside is about.
            await self._erase_set_aside(connection, job)
            await self.forget(customer_id)
        # Outside of the transaction, whose end deletes the firings: none of them is delivered after it.
        job.done.stream_entries += await self._outboxes.erase(customer_id)
        return job.done, job.ids

    async def forget(self, customer_id: str) -> None:
        """Delete the history of contacts, what events told, their ids, and what was added from aliases."""
        parts = self._keys.contact, self._keys.events, self._keys.event_ids, self._keys.absorbed
        async with redis_errors():
            await self._redis.delete(*(key_of(customer_id) for key_of in parts))

    async def erase_triggers(self, customer_id: str) -> dict[str, int]:
        """Delete what fired for a customer and what is waited for, at once; returns how many by table.

        Workers that have taken such a firing up decide and deliver nothing more for it. Raises ``PostgresUnavailable``.
        """
        async with transaction(self._engine) as connection:
            return await self._delete_triggers(connection, customer_id)

    async def _delete_triggers(self, connection: AsyncConnection, customer_id: str) -> dict[str, int]:
        """Delete what fired for the customer and what is waited for; returns how many by table."""
        # Behind the streams: whoever follows them holds the right, and reads them anew when it is free again.
        for lock in (TRIGGERS_LOCK, TRIGGER_SEEDS_LOCK):
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
        values, deleted = {"customer_id": customer_id}, {}
        for table in _TRIGGERS:
            query = text(f"DELETE FROM {table} WHERE customer_id = :customer_id")
            deleted[table] = (await connection.execute(query, values)).rowcount
        return deleted

    def _new_pseudonym(self, bucket: int) -> str:
        # In the bucket of the customer, where the decisions are: who restores them finds it by the pseudonym.
        while True:
            pseudonym = PREFIX + os.urandom(16).hex()
            if self._keys.bucket(pseudonym) == bucket:
                return pseudonym

    async def _erase_archived(self, connection: AsyncConnection, job: _Erasing) -> None:
        while True:
            values: dict[str, Any] = {"customer_id": job.customer_id, "most": BATCH_SIZE}
            rows = (await connection.execute(_ARCHIVED, values)).all()
            if not rows:
                return
            ids, times = [row.decision_id for row in rows], [row.decided_at for row in rows]
            headers = [self._erase_header(job, row.decision_id, row.header.encode()).decode() for row in rows]
            months = in_months(to_ms(times[0]), to_ms(times[-1]))
            asked = {"ids": ids, "times": times}
            await connection.execute(_SHADOWS, asked)
            told = (await connection.execute(text(_FACTS.format(months=months)), asked)).all()
            named = asked | {"values": headers, "pseudonym": job.pseudonym}
            await connection.execute(text(_DECISIONS.format(months=months)), named)
            if told:
                facts = [self._general_facts(row.facts.encode(), to_ms(row.decided_at)) for row in told]
                named = {"ids": [r.decision_id for r in told], "times": [r.decided_at for r in told]}
                await connection.execute(text(_OUTCOMES.format(months=months)), named | {"values": facts})
            job.done.decisions += len(rows)
            job.ids.update(ids)

    async def _read_set_aside(self, job: _Erasing) -> None:
        """Take note of decisions that could not be archived: their outcomes, and waiting decisions, are erased too."""
        for letter in await self._set_aside.of(job.customer_id, job.bucket, job.ids):
            if b"h" in letter.fields:
                entry = StreamEntry(letter.position, letter.fields)
                self._erase_header(job, entry.decision_id, letter.fields[b"h"])

    async def _erase_set_aside(self, connection: AsyncConnection, job: _Erasing) -> None:
        """Delete entries that could not be archived, and events of the inbox that could not be recorded."""
        for letter in await self._set_aside.of(job.customer_id, job.bucket, job.ids, doubtful=True):
            values = {"bucket": letter.bucket, "position": str(letter.position)}
            job.done.set_aside += (await connection.execute(_DROP_LETTER, values)).rowcount

    async def _erase_stream(self, job: _Erasing) -> int:
        """Replace the customer's entries in the stream; returns how many there were that had to be."""
        arguments: list[Any] = []
        found = 0
        for entry in await self._log.in_stream(job.customer_id, job.ids):
            fields = self._erase_entry(job, entry)
            if fields != entry.fields:
                found += 1
                flat = [part for pair in fields.items() for part in pair]
                arguments += [entry.position, len(flat), *flat]
        if arguments:
            await self._erase_shared(job)  # before the stream forgets whose household it was
            keys = self._keys.log(job.bucket), self._keys.log_copy(job.bucket)
            async with redis_errors():
                done = await self._redis.fcall(function_name("nb_rewrite"), len(keys), *keys, *arguments)
            job.done.stream_entries += int(done)
        return found

    def _erase_entry(self, job: _Erasing, entry: StreamEntry) -> Mapping[bytes, bytes]:
        fields = dict(entry.fields)
        if is_event_of(fields, job.customer_id):
            if b"hh" in fields:
                job.share(fields[b"hh"].decode(), event_mark(fields[b"id"].decode()))
            return {b"t": b"start"}  # which says nothing
        if b"h" in fields:
            fields[b"h"] = self._erase_header(job, entry.decision_id, fields[b"h"])
        elif fields.get(b"f"):
            try:
                facts = self._general_facts(fields[b"f"], entry.position.at_ms)
            except ValueError:
                facts = None
            fields[b"f"] = (facts or "").encode()
        return fields

    def _erase_header(self, job: _Erasing, decision_id: str, header: bytes) -> bytes:
        try:
            decision = decode_decision(header)
        except LogCodecError:
            return self._erase_unreadable(job, header)
        if decision.household is not None:
            job.share(decision.household, decision_id)
        general = self._generaliser.generalise(decision.facts or NO_FACTS, decision.decided_at_ms)
        job.done.inexact += general.inexact
        erased = encode_decision(pseudonymise(decision, job.pseudonym, general.facts))
        if _may_wait(decision, job.now_ms):
            job.waiting[decision_id] = erased, facts_text(general.facts)
        return erased

    def _erase_unreadable(self, job: _Erasing, header: bytes) -> bytes:
        try:
            found = from_json(header)
        except ValueError:
            found = {}
        return to_json(pseudonymise_unreadable(found if isinstance(found, dict) else {}, job.pseudonym))

    def _general_facts(self, encoded: bytes, at_ms: int) -> str | None:
        return facts_text(self._generaliser.generalise(parse_facts(encoded), at_ms).facts) or None

    async def _find_shared(self, connection: AsyncConnection, job: _Erasing) -> None:
        """Take note of contacts by events, and of all those of a visitor, in the households where they count."""
        for row in await connection.execute(_SHARED_EVENTS, {"customer_id": job.customer_id}):
            job.share(row.household_id, event_mark(row.event_id))
        homes = set((await self._aliases.homes([job.customer_id])).values())
        if not homes:
            return
        async with redis_errors():
            members = await self._redis.zrange(self._keys.contact(job.customer_id), 0, -1)
        for household_id in homes:
            for contact_id in filter(None, map(maker_of, members)):
                job.share(household_id, contact_id)

    async def _erase_shared(self, job: _Erasing) -> None:
        """Give the contacts in histories of households ids of their own: other members' limits go on counting them."""
        async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
            for household_id, others in job.shared.items():
                household_bucket = self._keys.bucket(household_id)
                keys = (self._keys.household(household_id), self._keys.reservations(household_bucket))
                arguments: list[str] = []
                for decision_id, other in others.items():
                    note = reservation_note(job.bucket, decision_id, household_id)
                    arguments += (note, decision_id, other)
                pipe.fcall(function_name("nb_disguise"), len(keys), *keys, *arguments)
            await pipe.execute()

    async def _leave_homes(self, connection: AsyncConnection, job: _Erasing) -> None:
        """Delete what is in histories of households that nobody belongs to any more: no limit counts by these."""
        if not job.shared:
            return
        # Read before it is asked who lives there: what a new member reserves meanwhile stays.
        held = {household_id: await self._held_in(household_id) for household_id in job.shared}
        customer_id, *_ = await self._aliases.chain(job.customer_id)
        own = [customer_id, *(name for name, _ in await self._aliases.of(customer_id))]
        values = {"homes": list(job.shared), "own": own}
        lived_in = set(await connection.scalars(_LIVED_IN, values))
        for household_id in job.shared.keys() - lived_in:
            contacts, notes = held[household_id]
            async with redis_errors():
                if notes:
                    await self._redis.zrem(self._keys.reservations(self._keys.bucket(household_id)), *notes)
                if contacts:
                    await self._redis.zrem(self._keys.household(household_id), *contacts)

    async def _held_in(self, household_id: str) -> tuple[list[bytes], list[bytes]]:
        """Read the contacts in the history of a household, and the notes of what was reserved there."""
        reservations = self._keys.reservations(self._keys.bucket(household_id))
        async with redis_errors():
            contacts = await self._redis.zrange(self._keys.household(household_id), 0, -1)
            found = self._redis.zscan_iter(reservations, count=BATCH_SIZE)
            notes = [name async for name, _ in found if name.split(b" ", 2)[2:] == [household_id.encode()]]
        return contacts, notes

    async def _erase_waiting(self, job: _Erasing) -> None:
        ids = list(job.waiting)
        for start in range(0, len(ids), BATCH_SIZE):
            some = ids[start : start + BATCH_SIZE]
            async with redis_errors(), self._redis.pipeline(transaction=False) as pipe:
                for decision_id in some:
                    key = self._keys.decision(job.bucket, decision_id)
                    header, facts = job.waiting[decision_id]
                    arguments = job.customer_id, job.pseudonym, header, facts
                    pipe.fcall(function_name("nb_pseudonymise"), 1, key, *arguments)
                job.done.waiting_decisions += sum(await pipe.execute())
            await self._disown(job, [one for one in some if bucket_of_generated(one) is None])

    async def _disown(self, job: _Erasing, own_ids: Sequence[str]) -> None:
        """Give the notes whose own ids of callers these are the pseudonym."""
        for decision_id in own_ids:
            key = self._keys.owner(decision_id)
            async with redis_errors():
                note = await self._redis.get(key)
                if note is not None and is_owner(note.decode(), job.customer_id, decision_id):
                    await self._redis.set(key, f"{job.bucket} {job.pseudonym}", xx=True, keepttl=True)


def _may_wait(decision: Decision, now_ms: int) -> bool:
    """Return whether Redis may still have a decision, or a note of whose own id it is."""
    return decision.until_ms + 2 * GRACE_MS > now_ms
