"""The log in Postgres: written in batches, each exactly once, and read for history, replay and rebuilding."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Any

import asyncpg
from pydantic_core import to_json
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_sql import (
    DECISION_COLUMNS,
    INSERT_DECISIONS,
    INSERT_OUTCOMES,
    OUTCOME_COLUMNS,
    STAGING,
    decision_of_row,
    decision_row,
    outcome_of_row,
    outcome_row,
    partition_statements,
)
from decisioning.log.store_stream import Batch
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Identity, Outcome
from decisioning.model.position import StreamPosition
from storage.clock import to_datetime, to_ms
from storage.errors import PostgresUnavailable
from storage.locks import ARCHIVER_LOCK
from storage.postgres import POSTGRES_ERRORS, postgres_errors, transaction
from storage.tasks import leave_after

SESSION = {"idle_in_transaction_session_timeout": "60s"}  # a turn whose process has vanished comes to an end

LOOKUP_TIMEOUT_S = 2.0
"""For a decision or its outcomes: a request waits for them."""
BATCH_SIZE = 500
"""Rows that are made into outcomes at once: other tasks wait for so long."""
NOWHERE: Mapping[int, StreamPosition] = MappingProxyType({})


class Archiver:
    """Writes batches of the log on a connection of its own, with COPY. Several may run: they take turns.

    Methods raise ``PostgresUnavailable``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._months: set[str] = set()

    async def close(self) -> None:
        """Give the connection back."""
        # A partition that was made in a turn that failed is not there.
        self._months.clear()
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.terminate()

    async def positions(self) -> dict[int, StreamPosition]:
        """Read up to which position each bucket is archived."""
        async with self._connected("answer") as connection:
            return await _positions(connection)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Mapping[int, StreamPosition] | None]:
        """Hold the only right to archive, with the archived positions; ``None`` if somebody else has it.

        Streams are read during the turn, so a rebuild, which takes the same right, cannot change them in between. What
        is written becomes durable with the end of the turn, all or nothing. If Postgres does not answer, it is not
        known whether the turn's writing was kept, and found by the next.
        """
        async with self._connected("take the batch") as connection, connection.transaction():
            mine = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", ARCHIVER_LOCK)
            yield await _positions(connection) if mine else None

    async def write(self, batch: Batch) -> None:
        """Archive a batch and move the positions; only during a ``turn``, which translates what is raised."""
        connection = self._connection
        assert connection is not None
        for month in {to_datetime(d.decision.decided_at_ms).replace(day=1) for d in batch.decided}:
            await self._partition(connection, month)
        await self._copy(connection, batch)
        # In the same transaction as the rows, so that no entry is archived and left, or passed over and lost.
        await connection.execute(
            "INSERT INTO archived SELECT * FROM unnest($1::smallint[], $2::text[])"
            " ON CONFLICT (bucket) DO UPDATE SET position = excluded.position",
            list(batch.last.keys()),
            list(batch.last.values()),
        )

    async def write_folds(self, policy: str, moves: Sequence[tuple[int, int, StreamPosition]]) -> None:
        """Keep ``(epoch, bucket, position)`` of folds."""
        async with self._connected("take the folds") as connection:
            await connection.execute(
                "INSERT INTO folds SELECT $1, * FROM unnest($2::bigint[], $3::smallint[], $4::text[])"
                " ON CONFLICT DO NOTHING",
                policy,
                [m[0] for m in moves],
                [m[1] for m in moves],
                [m[2] for m in moves],
            )

    async def last_fold(self, policy: str) -> int:
        """Read the newest archived epoch of a policy's arms; 0 if there is none."""
        query = "SELECT coalesce(max(epoch), 0) FROM folds WHERE policy = $1"
        async with self._connected("answer") as connection:
            return int(await connection.fetchval(query, policy))

    @asynccontextmanager
    async def _connected(self, doing: str) -> AsyncIterator[asyncpg.Connection]:
        """Give the connection. ``doing``: what Postgres did not do, if it fails; then the connection is given up."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    self._url, timeout=2, command_timeout=30, server_settings=SESSION
                )
                for statement in STAGING:
                    await self._connection.execute(statement)
            yield self._connection
        except POSTGRES_ERRORS as error:
            await self.close()
            raise PostgresUnavailable(f"postgres did not {doing}: {error}") from error

    async def _partition(self, connection: asyncpg.Connection, month: datetime) -> None:
        name = f"{month:%Y_%m}"
        if name not in self._months:
            for statement in partition_statements(month):
                await connection.execute(statement)
            self._months.add(name)

    @staticmethod
    async def _copy(connection: asyncpg.Connection, batch: Batch) -> None:
        if batch.decided:
            await connection.copy_records_to_table(
                "stage_decisions", records=[decision_row(d) for d in batch.decided], columns=DECISION_COLUMNS
            )
            await connection.execute(INSERT_DECISIONS)
        if batch.outcomes:
            await connection.copy_records_to_table(
                "stage_outcomes", records=[outcome_row(o) for o in batch.outcomes], columns=OUTCOME_COLUMNS
            )
            await connection.execute(INSERT_OUTCOMES)


async def _positions(connection: asyncpg.Connection) -> dict[int, StreamPosition]:
    return _by_bucket(await connection.fetch("SELECT bucket, position FROM archived"))


class ArchiveReader:
    """Reads the archived log. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def _rows(self, query: str, **values: Any) -> Sequence[Row[Any]]:
        async with transaction(self._engine) as connection:
            return (await connection.execute(text(query), values)).all()

    async def _look_up(self, query: str, **values: Any) -> Sequence[Row[Any]]:
        """Read rows for a request, which waits neither for long nor for a connection to be closed."""
        async with postgres_errors():
            return await leave_after(self._rows(query, **values), LOOKUP_TIMEOUT_S)

    async def decision(self, decision_id: str) -> LoggedDecision | None:
        """Read a decision as logged; ``None`` if it is not archived."""
        # Of several under one id the last one: a caller may ask again after an answer that was taken back.
        rows = await self._look_up(
            "SELECT bucket, position, header::text AS header, candidates, priors, factors FROM decisions"
            " WHERE decision_id = :id ORDER BY decided_at DESC LIMIT 1",
            id=decision_id,
        )
        return decision_of_row(rows[0]) if rows else None

    async def known(self, decision_ids: Collection[str]) -> set[str]:
        """Pick out those of these decisions that are archived."""
        query = "SELECT decision_id FROM decisions WHERE decision_id = ANY(:ids)"
        return {row.decision_id for row in await self._rows(query, ids=list(decision_ids))}

    async def among(self, decision_ids: Collection[str]) -> set[Identity]:
        """Read the identities of all that is archived of these decisions."""
        rows = await self._rows(
            "SELECT decision_id, decided_at, NULL AS offer_id, NULL AS outcome FROM decisions"
            " WHERE decision_id = ANY(:ids) UNION ALL"
            " SELECT decision_id, decided_at, offer_id, outcome FROM outcomes WHERE decision_id = ANY(:ids)",
            ids=list(decision_ids),
        )
        return {(r.decision_id, to_ms(r.decided_at), r.offer_id, r.outcome) for r in rows}

    async def positions(self) -> dict[int, StreamPosition]:
        """Read up to which position each bucket is archived."""
        return _by_bucket(await self._rows("SELECT bucket, position FROM archived"))

    async def last_fold(self, policy: str) -> int:
        """Read the newest archived epoch of a policy's arms; 0 if there is none."""
        query = "SELECT coalesce(max(epoch), 0) FROM folds WHERE policy = :policy"
        return int((await self._rows(query, policy=policy))[0][0])

    async def linearisation(self, policy: str, generation: int) -> tuple[int, int, bytes] | None:
        """Read the newest linearisation of a policy's arms up to a generation: generation, until Unix ms, points."""
        rows = await self._rows(
            "SELECT generation, until_ms, points FROM linearisations"
            " WHERE policy = :policy AND generation <= :generation ORDER BY generation DESC LIMIT 1",
            policy=policy,
            generation=generation,
        )
        return (rows[0].generation, rows[0].until_ms, bytes(rows[0].points)) if rows else None

    async def outcomes(self, decision_id: str) -> list[Outcome]:
        """Read all outcomes of a decision, in the order of the log."""
        query = "SELECT * FROM outcomes WHERE decision_id = :id ORDER BY recorded_ms, outcome"
        return [outcome_of_row(row) for row in await self._look_up(query, id=decision_id)]

    async def observations(
        self,
        up_to: Mapping[int, StreamPosition] | None = None,
        *,
        behind: Mapping[int, StreamPosition] = NOWHERE,
        since_ms: int = 0,
        placements: Collection[str] = (),
    ) -> AsyncIterator[list[Outcome]]:
        """Yield all outcomes that teach, in batches, in no particular order (arms are sums).

        ``up_to``: only those at or before these positions of their buckets; a bucket that is missing has none.
        ``behind``: only those behind these. ``since_ms``: only those of decisions from then on. ``placements``: only
        those of these, if any are given.
        """
        where, values = _teaching(since_ms, placements)
        if behind:
            where += _NOT_LONG_BEFORE
            values["behind"] = to_json(
                {bucket: position.at_ms for bucket, position in behind.items()}
            ).decode()
        async for outcomes in self._batches(where, values):
            if up_to is not None:
                outcomes = [o for o in outcomes if _before(o, up_to)]
            yield [o for o in outcomes if not _before(o, behind)] if behind else outcomes

    async def in_order(
        self,
        up_to: Mapping[int, StreamPosition],
        *,
        behind: Mapping[int, StreamPosition] = NOWHERE,
        since_ms: int = 0,
        placements: Collection[str] = (),
    ) -> AsyncIterator[list[Outcome]]:
        """As ``observations``, in the order of ``learning.in_order``; only what lies behind ``behind``."""
        where, values = _teaching(since_ms, placements)
        async for outcomes in self._batches(f"{where} ORDER BY {_IN_ORDER}", values):
            yield [o for o in outcomes if _before(o, up_to) and not _before(o, behind)]

    async def _batches(self, where: str, values: Mapping[str, Any]) -> AsyncIterator[list[Outcome]]:
        async with transaction(self._engine) as connection:
            # Both are needed: the option makes a cursor on the server, the size cuts what comes from it.
            stream = await connection.stream(
                text(f"SELECT * FROM outcomes WHERE {where}"),
                values,
                execution_options={"yield_per": BATCH_SIZE},
            )
            async for rows in stream.partitions(BATCH_SIZE):
                yield [outcome_of_row(row) for row in rows]

    async def moves(self, policy: str, first: int, last: int) -> list[tuple[int, int, StreamPosition]]:
        """Read the folds behind epoch ``first`` up to ``last``: ``(epoch, bucket, position)`` by epoch."""
        rows = await self._rows(
            "SELECT epoch, bucket, position FROM folds"
            " WHERE policy = :policy AND epoch > :first AND epoch <= :last ORDER BY epoch, bucket",
            policy=policy,
            first=first,
            last=last,
        )
        return [(row.epoch, row.bucket, StreamPosition(row.position)) for row in rows]

    async def observed(self, *, since_ms: int = 0, placements: Collection[str] = ()) -> int:
        """Count the outcomes that ``observations`` gives."""
        where, values = _teaching(since_ms, placements)
        return int((await self._rows(f"SELECT count(*) FROM outcomes WHERE {where}", **values))[0][0])

    async def positions_at(self, policy: str, epoch: int) -> dict[int, StreamPosition] | None:
        """Read up to where a policy's arms were folded at ``epoch``; ``None`` if that epoch is not archived."""
        rows = await self._rows(
            "SELECT DISTINCT ON (bucket) bucket, position, epoch FROM folds"
            " WHERE policy = :policy AND epoch <= :epoch ORDER BY bucket, epoch DESC",
            policy=policy,
            epoch=epoch,
        )
        return _by_bucket(rows) if any(row.epoch == epoch for row in rows) else None


def _by_bucket(rows: Iterable[Any]) -> dict[int, StreamPosition]:
    return {bucket: StreamPosition(position) for bucket, position, *_ in rows}


_IN_ORDER = (
    "at_ms, bucket, split_part(position, '-', 1)::bigint, split_part(position, '-', 2)::bigint, offer_no,"
    ' outcome COLLATE "C"'
)


_NOT_LONG_BEFORE = (
    " AND split_part(position, '-', 1)::bigint"
    " >= coalesce((cast(:behind AS jsonb) ->> cast(bucket AS text))::bigint, 0)"
)


def _teaching(since_ms: int, placements: Collection[str]) -> tuple[str, dict[str, Any]]:
    """Make the condition of ``observations``, and its values."""
    where = "(reward IS NOT NULL AND NOT late OR silence_ms IS NOT NULL)"
    values: dict[str, Any] = {}
    if since_ms:
        where += " AND decided_at >= :since"
        values["since"] = to_datetime(since_ms)
    if placements:
        where += " AND placement = ANY(:placements)"
        values["placements"] = [*placements]
    return where, values


def _before(outcome: Outcome, up_to: Mapping[int, StreamPosition]) -> bool:
    limit = up_to.get(outcome.bucket)
    return limit is not None and outcome.position <= limit
