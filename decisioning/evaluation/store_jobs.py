"""Jobs that were asked for, such as evaluations: taken by one worker at a time, with their progress and results."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.errors import Conflict, NotFound
from storage.locks import RUNNING_SPACE
from storage.postgres import single_statement, transaction

JobState = Literal["waiting", "running", "done", "failed"]
MAX_OPEN = 20
RETENTION_DAYS = 30
DEAD_S = 60
"""A job that has shown no sign of life for so long is taken again."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job: what was asked, by whom, how far it is (``seen`` of ``total``), and its result."""

    job_id: str
    request: Mapping[str, Any]
    author: str
    state: JobState
    asked_at: datetime
    alive_at: datetime | None
    finished_at: datetime | None
    seen: int
    total: int
    result: Mapping[str, Any] | None
    error: str | None


class JobStore:
    """Jobs of one kind in a table of Postgres. All methods raise ``PostgresUnavailable``.

    ``noun``: what they are, the table is named by its plural and its key ``<noun>_id``. ``retention_days``: how long
    they are kept.
    """

    noun: ClassVar[str]
    retention_days: ClassVar[int] = RETENTION_DAYS

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._table, self._key = f"{self.noun}s", f"{self.noun}_id"

    async def ask(self, job_id: str, request: Mapping[str, Any], author: str) -> Job:
        """Put a job in the queue; old ones are forgotten. Raises ``Conflict`` if too many wait."""
        async with transaction(self._engine) as connection:
            await self._forget(connection)
            waiting = await connection.scalar(
                text(f"SELECT count(*) FROM {self._table} WHERE state IN ('waiting', 'running')")
            )
            if (waiting or 0) >= MAX_OPEN:
                raise Conflict(
                    f"{waiting} {self._table} are waiting already; ask again when some of them are done"
                )
            await connection.execute(
                text(
                    f"INSERT INTO {self._table} ({self._key}, request, author)"
                    " VALUES (:id, cast(:request AS jsonb), :author)"
                ),
                {"id": job_id, "request": to_json(dict(request)).decode(), "author": author},
            )
        return await self.get(job_id)

    async def forget_old(self) -> None:
        """Forget the jobs that were asked for ``retention_days`` ago and before."""
        async with transaction(self._engine) as connection:
            await self._forget(connection)

    async def _forget(self, connection: AsyncConnection) -> None:
        await connection.execute(
            text(f"DELETE FROM {self._table} WHERE asked_at < now() - make_interval(days => :days)"),
            {"days": self.retention_days},
        )

    async def get(self, job_id: str) -> Job:
        """One job. Raises ``NotFound``, also for one that is too old to be kept."""
        columns = ", ".join(field.name for field in fields(Job)[1:])
        query = text(
            f"SELECT {self._key} AS job_id, {columns} FROM {self._table} WHERE {self._key} = :id"
            " AND asked_at >= now() - make_interval(days => :days)"
        ).columns(request=JSONB, result=JSONB)
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query, {"id": job_id, "days": self.retention_days})).first()
        if row is None:
            raise NotFound(self.noun, job_id)
        return Job(**row._mapping)

    async def latest(self, limit: int, before: str | None = None) -> list[Job]:
        """The jobs that were asked for last, the newest first, without their results.

        ``before``: only those asked for earlier than this one. Raises ``NotFound`` if that is not kept.
        """
        values: dict[str, Any] = {"days": self.retention_days, "limit": limit}
        earlier = ""
        if before is not None:
            values |= {"start": (await self.get(before)).asked_at, "before": before}
            earlier = f" AND (asked_at, {self._key}) < (:start, :before)"
        columns = ", ".join(field.name for field in fields(Job)[1:] if field.name != "result")
        query = text(
            f"SELECT {self._key} AS job_id, {columns} FROM {self._table}"
            f" WHERE asked_at >= now() - make_interval(days => :days){earlier}"
            f" ORDER BY asked_at DESC, {self._key} DESC LIMIT :limit"
        ).columns(request=JSONB)
        async with transaction(self._engine) as connection:
            rows = await connection.execute(query, values)
            return [Job(**row._mapping, result=None) for row in rows]

    async def take(self) -> str | None:
        """The job that is to be run next, which is then running; ``None`` if there is none."""
        # SKIP LOCKED: workers that ask at the same time take different ones, and none waits.
        query = text(
            f"UPDATE {self._table} SET state = 'running', alive_at = now() WHERE {self._key} = ("
            f" SELECT {self._key} FROM {self._table} WHERE state = 'waiting'"
            " OR state = 'running' AND alive_at < now() - make_interval(secs => :dead)"
            " ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED)"
            f" RETURNING {self._key}"
        )
        async with single_statement(self._engine) as connection:
            taken: str | None = await connection.scalar(query, {"dead": DEAD_S})
            return taken

    @asynccontextmanager
    async def claim(self, job_id: str) -> AsyncIterator[bool]:
        """Try to be the only one who runs a job during the block. Yields whether it is left to the caller to run it.

        It is not while somebody else runs it, who could not say so for a while, nor once it has ended. Raises
        ``NotFound``.
        """
        async with transaction(self._engine) as connection:
            # A lock of the transaction: whoever dies gives it back.
            query = text("SELECT pg_try_advisory_xact_lock(:space, hashtext(:job))")
            alone = await connection.scalar(query, {"space": RUNNING_SPACE, "job": job_id})
            # Looked at behind the lock: who had it may just have ended the job.
            yield bool(alone) and (await self.get(job_id)).state == "running"

    async def progress(self, job_id: str, seen: int, total: int) -> None:
        """Tell how far it is, and that it is alive."""
        await self._update(
            "SET seen = :seen, total = :total, alive_at = now()", job_id, seen=seen, total=total
        )

    async def end(self, job_id: str, result: Mapping[str, Any], seen: int) -> None:
        """Keep the result, after so many were ``seen``."""
        await self._update(
            "SET state = 'done', result = cast(:result AS jsonb), seen = :seen, total = :seen, finished_at = now()",
            job_id,
            result=to_json(dict(result)).decode(),
            seen=seen,
        )

    async def fail(self, job_id: str, error: str) -> None:
        """Say why there is no result, unless there is one."""
        await self._update("SET state = 'failed', error = :error, finished_at = now()", job_id, error=error)

    async def _update(self, what: str, job_id: str, **values: Any) -> None:
        # Only while it runs: a result that is there is never overwritten.
        query = text(f"UPDATE {self._table} {what} WHERE {self._key} = :id AND state = 'running'")
        async with transaction(self._engine) as connection:
            await connection.execute(query, values | {"id": job_id})


class EvaluationStore(JobStore):
    """Evaluations; ``seen`` and ``total`` are decisions."""

    noun = "evaluation"

    async def done(self, evaluation_id: str, result: Mapping[str, Any]) -> None:
        """Keep the result."""
        await self.end(evaluation_id, result, result["decisions"])
