"""Rebuilding what a lost Redis held, from the log in Postgres: arms, contact history, decisions that still wait.

Safe while the system runs: arms are reset to the archived positions only if nobody folded in between, and what is
still in the streams behind those positions is folded again by the learner.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import to_json
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bandits.policy import Policy
from bandits.state import ArmTable, fold
from decisioning.keys import Keys
from decisioning.records import prior_text
from decisioning.stores.archive import ArchiveReader
from decisioning.stores.catalogue import CatalogueStore
from decisioning.stores.postgres import transaction
from decisioning.stores.streams import START, Arms, ArmStore, LogReader, order, redis_errors

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
_LOCK = 7_263_845_193


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild put back."""

    observations: dict[str, int]
    decisions: int = 0
    streams: int = 0


class Rebuilder:
    """Puts back what Redis lost."""

    def __init__(
        self,
        engine: AsyncEngine,
        redis: "Redis",
        keys: Keys,
        policies: Mapping[str, Policy],
        catalogues: CatalogueStore,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._catalogues = catalogues
        self._clock_ms = clock_ms
        self._redis = redis
        self._keys = keys
        self._policies = {key: policy for key, policy in policies.items() if policy.width}
        self._reader = LogReader(redis, keys)
        self._arms = ArmStore(redis, keys)
        self._archive = ArchiveReader(engine)

    async def lost(self) -> bool:
        """Whether Redis is behind Postgres: no arms, older arms, or streams that end before what is archived."""
        archived = await self._archived()
        last = await self._reader.last_positions()
        if any(order(last.get(bucket, START)) < order(position) for bucket, position in archived.items()):
            return True
        for key in self._policies:
            arms = await self._arms.load(key)
            if arms is None or arms.epoch < await self._last_fold(key):
                return True
        return False

    async def restore_if_lost(self) -> Rebuilt | None:
        """Rebuild if ``lost`` says so; ``None`` if there was nothing to do, or another process is at it.

        Raises
        ------
        RedisUnavailable, PostgresUnavailable
            If a store does not answer; it may be run again.
        """
        if not await self.lost():
            return None
        async with transaction(self._engine) as connection:
            if not await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}):
                return None
            if not await self.lost():  # another process has just done it
                return None
            rebuilt = await self.rebuild()
        log.warning("redis was behind postgres; rebuilt: %s", rebuilt)
        return rebuilt

    async def rebuild(self) -> Rebuilt:
        """Rebuild everything.

        Raises
        ------
        RedisUnavailable, PostgresUnavailable
            If a store does not answer; it may be run again.
        """
        rebuilt = Rebuilt({})
        now_ms = self._clock_ms()
        history_ms = (await self._catalogues.load()).history_ms
        archived = await self._archived()
        last = await self._reader.last_positions()
        for bucket, position in archived.items():
            if order(last.get(bucket, START)) < order(position):
                await self._reader.advance(bucket, position)
                rebuilt.streams += 1
        rebuilt.decisions = await self._restore(now_ms, history_ms)
        for key, policy in self._policies.items():
            rebuilt.observations[key] = await self._rebuild_arms(key, policy)
        return rebuilt

    async def _rebuild_arms(self, key: str, policy: Policy) -> int:
        while True:
            current = await self._arms.load(key)
            archived = await self._archived()
            table = ArmTable(policy.width)
            count = 0
            async for outcomes in self._archive.observations(archived):
                seen = [o for o in (outcome.observation() for outcome in outcomes) if o is not None]
                count += len(seen)
                for name, delta in fold(policy, seen).items():
                    table.add(name, delta)
            epoch = 1 + max(current.epoch if current else 0, await self._last_fold(key))
            arms = Arms(
                epoch, {b: archived.get(b, START) for b in range(self._keys.buckets)}, dict(table.fields())
            )
            if await self._arms.reset(key, current.epoch if current else None, arms):
                return count
            log.info("arms of %s were folded meanwhile; rebuilding again", key)

    async def _archived(self) -> dict[int, str]:
        async with transaction(self._engine) as connection:
            rows = await connection.execute(text("SELECT bucket, position FROM archived"))
            return {row.bucket: row.position for row in rows}

    async def _last_fold(self, key: str) -> int:
        async with transaction(self._engine) as connection:
            query = text("SELECT coalesce(max(epoch), 0) FROM folds WHERE policy = :key")
            return int(await connection.scalar(query, {"key": key}) or 0)

    async def _restore(self, now_ms: int, history_ms: int) -> int:
        """Put back contacts inside their windows, and decisions whose reward window was not closed."""
        restored = 0
        async with transaction(self._engine) as connection:
            rows = await connection.stream(
                text(_RESTORE).columns(header=JSONB),
                {"contacts_from_ms": now_ms - history_ms, "open_from_ms": now_ms - DAY_MS},
                execution_options={"yield_per": 1000},
            )
            async for row in rows:
                outcomes = await self._outcomes(connection, row) if row.open else []
                restored += await self._restore_one(row, outcomes, now_ms, history_ms)
        return restored

    @staticmethod
    async def _outcomes(connection: AsyncConnection, row: Any) -> list[Any]:
        query = text(
            "SELECT offer_id, outcome, recorded_ms FROM outcomes WHERE decision_id = :id AND decided_at = :at"
        )
        return list(await connection.execute(query, {"id": row.decision_id, "at": row.decided_at}))

    async def _restore_one(self, row: Any, outcomes: list[Any], now_ms: int, history_ms: int) -> int:
        header = row.header
        bucket = self._keys.bucket(header["customer_id"])
        numbers = header["numbers"]
        contact_ms = header["decided_at_ms"] if header["decided_at_ms"] > now_ms - history_ms else None
        arguments: list[Any] = [
            *(row.decision_id, header["until_ms"], max(header["until_ms"] - now_ms, 0) + DAY_MS),
            *(history_ms, header["decided_at_ms"]),
            *(numbers if contact_ms is not None else ()),
            "",
        ]
        if row.open:
            arguments += _hash(header, row.priors, row.candidates)
            for outcome in outcomes:
                arguments += [f"r:{outcome.offer_id}:{outcome.outcome}", outcome.recorded_ms]
        keys = (
            self._keys.decision(bucket, row.decision_id),
            self._keys.pending(bucket),
            self._keys.contact(header["customer_id"]),
        )
        async with redis_errors():
            await self._redis.fcall("nb_restore", 3, *keys, *arguments)
            if row.open and not row.decision_id.startswith("nb"):
                owner = f"{bucket} {header['customer_id']}"
                await self._redis.set(self._keys.owner(row.decision_id), owner, nx=True, px=30 * DAY_MS)
        return int(row.open)


_RESTORE = """
SELECT d.decision_id, d.decided_at, d.header, d.candidates, d.priors, o.open
FROM decisions d, LATERAL (
    SELECT (d.header ->> 'until_ms')::bigint > :open_from_ms
        AND NOT EXISTS (
            SELECT 1 FROM outcomes x
            WHERE x.decision_id = d.decision_id AND x.decided_at = d.decided_at
                AND x.outcome IN ('expired', 'withdrawn')
        ) AS open
) o
WHERE d.header ->> 'source' = 'live'
    AND (o.open OR (d.header ->> 'decided_at_ms')::bigint > :contacts_from_ms)
    AND NOT EXISTS (
        SELECT 1 FROM outcomes x
        WHERE x.decision_id = d.decision_id AND x.decided_at = d.decided_at AND x.outcome = 'withdrawn'
    )
"""


def _hash(header: Mapping[str, Any], priors: bytes, candidates: bytes) -> list[Any]:
    """The fields of a waiting decision, as ``nb_decide`` writes them."""
    prior_of = dict(
        zip(np.frombuffer(candidates, "<u4").tolist(), np.frombuffer(priors, "<f4").tolist(), strict=True)
    )
    offers = [offer["offer_id"] for offer in header["offers"]]
    fields: list[Any] = [
        *(
            "h",
            to_json(header),
            "c",
            header["customer_id"],
            "d",
            header["decided_at_ms"],
            "u",
            header["until_ms"],
        ),
        *("k", f"{header['policy']['name']}@{header['policy']['version']}", "l", header["placement"]),
        *("m", header["presentation"], "n", ",".join(offers)),
    ]
    for offer_id, number in zip(offers, header["numbers"], strict=True):
        fields += [f"o:{offer_id}", f"{number} {prior_text(prior_of[number])}"]
    return fields
