"""Drift in Postgres: windows, detections, and how far each placement's decisions have been watched."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.rollout.drift import AcceptanceWindow, Drift
from decisioning.rollout.results import MadeDecision
from decisioning.rollout.store_results import LogPlace, decisions_in_order
from storage.clock import to_datetime, to_ms
from storage.locks import DRIFT_LOCK
from storage.postgres import transaction, where

LEASE_S = 15
"""A watcher that is silent for so long has lost its place to another one."""
LOOK_BACK_DECISIONS = 100_000
"""Decisions of a placement that are read again when a watch is built anew."""

_LEASE = text(f"""
INSERT INTO drift_watch AS w (owner, until) VALUES (:owner, now() + interval '{LEASE_S} s')
ON CONFLICT (only_row) DO UPDATE SET owner = excluded.owner, until = excluded.until
WHERE w.owner = excluded.owner OR w.until < now() RETURNING owner
""")
_PLACEMENTS = text("""
SELECT id FROM (
    SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'placement' ORDER BY id, version DESC
) AS newest WHERE body IS NOT NULL ORDER BY id
""")
_BACK = text("""
SELECT decided_at, decision_id FROM decisions WHERE placement = :placement AND decided_at <= cast(:at AS timestamptz)
ORDER BY decided_at DESC, decision_id DESC OFFSET :back LIMIT 1
""")
_LAST = text("""
SELECT DISTINCT ON (offer_id) offer_id, detected_at, decision_id FROM drift_detections WHERE placement = :placement
ORDER BY offer_id, detected_at DESC
""")
_MOVE = text("""
INSERT INTO drift_positions VALUES (:placement, :at, :id)
ON CONFLICT (placement) DO UPDATE SET seen_at = excluded.seen_at, seen_id = excluded.seen_id
""")
_FOUND = text("""
INSERT INTO drift_detections (placement, offer_id, detected_at, decision_id, since, rate_before, rate_after,
    observations_before, observations_after)
VALUES (:placement, :offer, :at, :id, :since, :rate_before, :rate_after, :width_before, :width)
ON CONFLICT DO NOTHING
""")
_WINDOW = text("""
INSERT INTO drift_windows VALUES (:placement, :offer_id, :observations, :acceptances, :since, :until)
ON CONFLICT (placement, offer_id) DO UPDATE SET observations = excluded.observations,
    acceptances = excluded.acceptances, since = excluded.since, until = excluded.until
""")


class DriftStore:
    """Reads and writes drift. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator["DriftTurn | None"]:
        """Hold the right to watch, unless somebody else has it (then ``None``). What is written is kept at its end."""
        async with transaction(self._engine) as connection:
            free = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:l)"), {"l": DRIFT_LOCK})
            mine = free and await connection.scalar(_LEASE, {"owner": owner})
            yield DriftTurn(connection) if mine else None

    async def windows(self, placement: str | None, offer_id: str | None) -> list[Any]:
        """Read rows of ``drift_windows``, by placement and offer."""
        return await self._rows("drift_windows", "placement, offer_id", placement, offer_id, 10_000)

    async def detections(self, placement: str | None, offer_id: str | None, limit: int) -> list[Any]:
        """Read rows of ``drift_detections``, the newest first."""
        return await self._rows("drift_detections", "detected_at DESC, offer_id", placement, offer_id, limit)

    async def _rows(
        self, table: str, by: str, placement: str | None, offer_id: str | None, limit: int
    ) -> list[Any]:
        condition, values = where({"placement =": placement, "offer_id =": offer_id})
        query = text(f"SELECT * FROM {table} {condition} ORDER BY {by} LIMIT :limit")
        async with transaction(self._engine) as connection:
            return list(await connection.execute(query, values | {"limit": limit}))


class DriftTurn:
    """The right to watch, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def placements(self) -> Mapping[str, LogPlace | None]:
        """Read the placements that there are, and how far each has been watched."""
        rows = await self._connection.execute(text("SELECT * FROM drift_positions"))
        places = {row.placement: LogPlace(row.seen_at, row.seen_id) for row in rows}
        return {row.id: places.get(row.id) for row in await self._connection.execute(_PLACEMENTS)}

    async def look_back(self, placement: str, to: datetime) -> LogPlace:
        """Find the place at which a watch begins to read that is to stand at ``to``."""
        values = {"placement": placement, "at": to, "back": LOOK_BACK_DECISIONS}
        row = (await self._connection.execute(_BACK, values)).first()
        return LogPlace(to_datetime(0)) if row is None else LogPlace(row.decided_at, row.decision_id)

    async def last_detections(self, placement: str) -> dict[str, tuple[int, str]]:
        """Read by offer the time (Unix ms) and id of the decision that revealed its last change."""
        rows = await self._connection.execute(_LAST, {"placement": placement})
        return {row.offer_id: (to_ms(row.detected_at), row.decision_id) for row in rows}

    async def next_decisions(
        self, placement: str, behind: LogPlace, until_ms: int, limit: int
    ) -> Sequence[MadeDecision]:
        """Read the next decisions of a placement."""
        return await decisions_in_order(self._connection, placement, behind, until_ms, limit)

    async def store(
        self, placement: str, place: LogPlace, found: Sequence[Drift], windows: Sequence[AcceptanceWindow]
    ) -> None:
        """Move the position of a placement, and store what was found on the way."""
        await self._connection.execute(
            _MOVE, {"placement": placement, "at": place.at, "id": place.decision_id}
        )
        detections = [
            asdict(drift.detection)
            | {
                "placement": placement,
                "id": drift.decision_id,
                "at": _datetime_of_s(drift.detection.at_s),
                "since": _datetime_of_s(drift.detection.since_s),
            }
            for drift in found
        ]
        if detections:
            await self._connection.execute(_FOUND, detections)
        rows = [
            asdict(w)
            | {"placement": placement, "since": to_datetime(w.since_ms), "until": to_datetime(w.until_ms)}
            for w in windows
        ]
        if rows:
            await self._connection.execute(_WINDOW, rows)


def _datetime_of_s(at_s: float) -> datetime:
    return to_datetime(round(at_s * 1000))
