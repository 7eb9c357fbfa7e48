"""Evaluations that were asked for: taken by one worker at a time, with their progress and results."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import Conflict, NotFound
from storage.postgres import transaction

EvaluationState = Literal["waiting", "running", "done", "failed"]
MAX_OPEN = 20
RETENTION_DAYS = 30
DEAD_S = 60
"""An evaluation that has shown no sign of life for so long is taken again."""


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """One evaluation: what was asked, by whom, how far it is (``seen`` of ``total`` decisions), and its result."""

    evaluation_id: str
    request: Mapping[str, Any]
    author: str
    state: EvaluationState
    asked_at: datetime
    alive_at: datetime | None
    finished_at: datetime | None
    seen: int
    total: int
    result: Mapping[str, Any] | None
    error: str | None


class EvaluationStore:
    """Evaluations in Postgres. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def ask(self, evaluation_id: str, request: Mapping[str, Any], author: str) -> EvaluationJob:
        """Put an evaluation in the queue; old ones are forgotten. Raises ``Conflict`` if too many wait."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                text("DELETE FROM evaluations WHERE asked_at < now() - make_interval(days => :days)"),
                {"days": RETENTION_DAYS},
            )
            waiting = await connection.scalar(
                text("SELECT count(*) FROM evaluations WHERE state IN ('waiting', 'running')")
            )
            if (waiting or 0) >= MAX_OPEN:
                raise Conflict(
                    f"{waiting} evaluations are waiting already; ask again when some of them are done"
                )
            await connection.execute(
                text(
                    "INSERT INTO evaluations (evaluation_id, request, author)"
                    " VALUES (:id, cast(:request AS jsonb), :author)"
                ),
                {"id": evaluation_id, "request": to_json(dict(request)).decode(), "author": author},
            )
        return await self.get(evaluation_id)

    async def get(self, evaluation_id: str) -> EvaluationJob:
        """One evaluation. Raises ``NotFound``."""
        columns = ", ".join(field.name for field in fields(EvaluationJob))
        query = text(f"SELECT {columns} FROM evaluations WHERE evaluation_id = :id").columns(
            request=JSONB, result=JSONB
        )
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query, {"id": evaluation_id})).first()
        if row is None:
            raise NotFound("evaluation", evaluation_id)
        return EvaluationJob(**row._mapping)

    async def take(self) -> str | None:
        """The evaluation that is to be run next, which is then running; ``None`` if there is none."""
        # SKIP LOCKED: workers that ask at the same time take different ones, and none waits.
        query = text(
            "UPDATE evaluations SET state = 'running', alive_at = now() WHERE evaluation_id = ("
            " SELECT evaluation_id FROM evaluations WHERE state = 'waiting'"
            " OR state = 'running' AND alive_at < now() - make_interval(secs => :dead)"
            " ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING evaluation_id"
        )
        async with transaction(self._engine) as connection:
            taken: str | None = await connection.scalar(query, {"dead": DEAD_S})
            return taken

    async def progress(self, evaluation_id: str, seen: int, total: int) -> None:
        """Tell how far it is, and that it is alive."""
        await self._update(
            "SET seen = :seen, total = :total, alive_at = now()", evaluation_id, seen=seen, total=total
        )

    async def done(self, evaluation_id: str, result: Mapping[str, Any]) -> None:
        """Keep the result."""
        await self._update(
            "SET state = 'done', result = cast(:result AS jsonb), seen = :seen, total = :seen, finished_at = now()",
            evaluation_id,
            result=to_json(dict(result)).decode(),
            seen=result["decisions"],
        )

    async def fail(self, evaluation_id: str, error: str) -> None:
        """Say why there is no result, unless there is one."""
        await self._update(
            "SET state = 'failed', error = :error, finished_at = now()", evaluation_id, error=error
        )

    async def _update(self, what: str, evaluation_id: str, **values: Any) -> None:
        # Only while it runs: a result that is there is never overwritten.
        query = text(f"UPDATE evaluations {what} WHERE evaluation_id = :id AND state = 'running'")
        async with transaction(self._engine) as connection:
            await connection.execute(query, values | {"id": evaluation_id})
