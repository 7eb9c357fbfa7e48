"""Generations of arms in Postgres: numbers, linearisations, the runs that look for better ones, their occasions."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bandits.policy import Policy
from bandits.regression.linearisation import LinearisationPoints, can_relinearise
from decisioning.learning.fold import Linearisation
from decisioning.log.store_archive import ArchiveReader
from storage.postgres import transaction

NEWEST = 2**62
"""A generation that no arms ever reach."""


async def find_linearisation(
    archive: ArchiveReader, key: str, policy: Policy, generation: int = NEWEST
) -> Linearisation | None:
    """Find where a generation of a policy's arms linearises; ``None``: at the estimates that were logged.

    It is that of the newest generation up to it that was linearised anew. Raises ``PostgresUnavailable``.
    """
    if not can_relinearise(policy):
        return None
    found = await archive.linearisation(key, generation)
    if found is None:
        return None
    _, until_ms, points = found
    return Linearisation(until_ms, LinearisationPoints.unpack(points))


@dataclass(frozen=True, slots=True)
class LinearisationRun:
    """A run that looked for better points: when it began, by the clock of Postgres, and how many outcomes it read."""

    began_at: datetime
    outcomes: int


class LinearisationStore:
    """Keeps linearisations, and the numbers of generations. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def claim_generation(self, key: str, behind: int) -> int:
        """Give out the number of a new generation: higher than ``behind``, and than any that was given out before.

        Before there are arms of it: Redis may lose them before their first fold is archived, and others may have
        seen their epochs.
        """
        query = (
            "INSERT INTO arm_generations AS newest (policy, generation) VALUES (:policy, :behind + 1)"
            " ON CONFLICT (policy) DO UPDATE"
            " SET generation = greatest(newest.generation + 1, excluded.generation) RETURNING generation"
        )
        async with transaction(self._engine) as connection:
            return int(await connection.scalar(text(query), {"policy": key, "behind": behind}))

    async def put(self, key: str, generation: int, linearisation: Linearisation) -> None:
        """Keep the linearisation of a generation, before any arms have it."""
        query = (
            "INSERT INTO linearisations (policy, generation, until_ms, points)"
            " VALUES (:policy, :generation, :until, :points)"
        )
        values = {
            "policy": key,
            "generation": generation,
            "until": linearisation.until_ms,
            "points": linearisation.points.pack(),
        }
        async with transaction(self._engine) as connection:
            await connection.execute(text(query), values)

    async def now(self) -> datetime:
        """Read the clock of Postgres, by which runs and imports are put in order."""
        async with transaction(self._engine) as connection:
            now: datetime = (await connection.execute(text("SELECT now()"))).scalar_one()
        return now

    async def note_run(self, key: str, run: LinearisationRun) -> None:
        """Keep the last run of a policy."""
        query = (
            "INSERT INTO linearisation_runs (policy, began_at, outcomes) VALUES (:policy, :began_at, :outcomes)"
            " ON CONFLICT (policy) DO UPDATE SET began_at = excluded.began_at, outcomes = excluded.outcomes"
        )
        values = {"policy": key, "began_at": run.began_at, "outcomes": run.outcomes}
        async with transaction(self._engine) as connection:
            await connection.execute(text(query), values)

    async def last_run(self, key: str) -> LinearisationRun | None:
        """Read the last run of a policy, if there was one."""
        query = text("SELECT began_at, outcomes FROM linearisation_runs WHERE policy = :policy")
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query, {"policy": key})).one_or_none()
        return None if row is None else LinearisationRun(row.began_at, row.outcomes)

    async def note_import(self, new_rows: int) -> None:
        """Note that an import of history has ended."""
        query = text("INSERT INTO history_imports (new_rows) VALUES (:rows)")
        async with transaction(self._engine) as connection:
            await connection.execute(query, {"rows": new_rows})

    async def last_import(self) -> datetime | None:
        """Read when the last import of history ended, if there was one."""
        async with transaction(self._engine) as connection:
            found = await connection.scalar(text("SELECT max(finished_at) FROM history_imports"))
        return found if isinstance(found, datetime) else None
