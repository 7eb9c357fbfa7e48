"""The log in Postgres: written in batches, each exactly once, and read for history, replay and rebuilding."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from pydantic_core import to_json
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import PostgresUnavailable
from decisioning.records import Decided, Outcome, parse_decided
from decisioning.stores.archive_sql import (
    DECISION_COLUMNS,
    INSERT_DECISIONS,
    INSERT_OUTCOMES,
    OUTCOME_COLUMNS,
    STAGING,
    partition_statements,
)
from decisioning.stores.postgres import transaction
from decisioning.stores.streams import START, Batch, order

ARCHIVER_LOCK = 7_263_845_192

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


def _time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000.0, UTC)


class Archiver:
    """Writes batches of the log on a connection of its own, with COPY.

    Several may run: a batch is only written if the buckets' archived positions are the ones it was read from.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None
        self._months: set[str] = set()

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.terminate()

    async def positions(self) -> dict[int, str]:
        """How far each bucket has been archived. Raises ``PostgresUnavailable``."""
        try:
            connection = await self._connected()
            rows = await connection.fetch("SELECT bucket, position FROM archived")
        except DRIVER_ERRORS as error:
            await self.close()
            raise PostgresUnavailable(f"postgres did not answer: {error}") from error
        return {row["bucket"]: row["position"] for row in rows}

    async def write(self, batch: Batch, expected: Mapping[int, str]) -> bool:
        """Archive a batch and move the positions, in one transaction.

        False (and nothing written) if another archiver is at work or has been there already.

        Raises
        ------
        PostgresUnavailable
            If it could not be written; it may be written again.
        """
        try:
            connection = await self._connected()
            for month in {_time(d.header["decided_at_ms"]).replace(day=1) for d in batch.decided}:
                await self._partition(connection, month)
            async with connection.transaction():
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", ARCHIVER_LOCK):
                    return False
                known = {r["bucket"]: r["position"] for r in await connection.fetch("SELECT * FROM archived")}
                if any(known.get(b, START) != expected.get(b, START) for b in batch.last):
                    return False
                await self._copy(connection, batch)
                await connection.execute(
                    "INSERT INTO archived SELECT * FROM unnest($1::smallint[], $2::text[])"
                    " ON CONFLICT (bucket) DO UPDATE SET position = excluded.position",
                    list(batch.last.keys()),
                    list(batch.last.values()),
                )
        except DRIVER_ERRORS as error:
            await self.close()
            raise PostgresUnavailable(f"postgres did not take the batch: {error}") from error
        return True

    async def write_folds(self, policy: str, moves: Sequence[tuple[int, int, str]]) -> None:
        """Keep ``(epoch, bucket, position)`` of folds. Raises ``PostgresUnavailable``."""
        try:
            connection = await self._connected()
            await connection.execute(
                "INSERT INTO folds SELECT $1, * FROM unnest($2::bigint[], $3::smallint[], $4::text[])"
                " ON CONFLICT DO NOTHING",
                policy,
                [m[0] for m in moves],
                [m[1] for m in moves],
                [m[2] for m in moves],
            )
        except DRIVER_ERRORS as error:
            await self.close()
            raise PostgresUnavailable(f"postgres did not take the folds: {error}") from error

    async def last_fold(self, policy: str) -> int:
        """The newest archived epoch of a policy's arms; 0 if there is none. Raises ``PostgresUnavailable``."""
        try:
            connection = await self._connected()
            return int(
                await connection.fetchval(
                    "SELECT coalesce(max(epoch), 0) FROM folds WHERE policy = $1", policy
                )
            )
        except DRIVER_ERRORS as error:
            await self.close()
            raise PostgresUnavailable(f"postgres did not answer: {error}") from error

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._url, timeout=2, command_timeout=30)
            for statement in STAGING:
                await self._connection.execute(statement)
        return self._connection

    async def _partition(self, connection: asyncpg.Connection, month: datetime) -> None:
        name = f"{month:%Y_%m}"
        if name not in self._months:
            for statement in partition_statements(month):
                try:
                    await connection.execute(statement)
                except asyncpg.DuplicateTableError:  # another archiver was faster
                    continue
            self._months.add(name)

    @staticmethod
    async def _copy(connection: asyncpg.Connection, batch: Batch) -> None:
        if batch.decided:
            await connection.copy_records_to_table(
                "stage_decisions", records=[_decision_row(d) for d in batch.decided], columns=DECISION_COLUMNS
            )
            await connection.execute(INSERT_DECISIONS)
        if batch.outcomes:
            await connection.copy_records_to_table(
                "stage_outcomes", records=[_outcome_row(o) for o in batch.outcomes], columns=OUTCOME_COLUMNS
            )
            await connection.execute(INSERT_OUTCOMES)


def _decision_row(d: Decided) -> tuple[Any, ...]:
    header = d.header
    policy = f"{header['policy']['name']}@{header['policy']['version']}"
    return (
        *(d.decision_id, _time(header["decided_at_ms"]), header["customer_id"], header["placement"], policy),
        *(d.bucket, d.position, to_json(header).decode()),
        *(d.candidates.astype("<u4").tobytes(), d.priors.astype("<f4").tobytes()),
        None if d.factors is None else d.factors.astype("<f8").tobytes(),
    )


def _outcome_row(o: Outcome) -> tuple[Any, ...]:
    return (
        *(
            o.decision_id,
            o.offer_id,
            o.outcome,
            _time(o.decided_at_ms),
            o.offer,
            o.value,
            o.at_ms,
            o.recorded_ms,
        ),
        *(o.late, o.reward, o.prior, o.policy, o.placement, o.bucket, o.position),
    )


class ArchiveReader:
    """Reads the archived log."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def decision(self, decision_id: str) -> Decided | None:
        """A decision as logged; ``None`` if it is not archived. Raises ``PostgresUnavailable``."""
        async with transaction(self._engine) as connection:
            row = (
                await connection.execute(
                    text(
                        "SELECT bucket, position, header::text AS header, candidates, priors, factors FROM decisions"
                        " WHERE decision_id = :id ORDER BY decided_at LIMIT 1"
                    ),
                    {"id": decision_id},
                )
            ).first()
        return None if row is None else _decided(row)

    async def known(self, decision_ids: Collection[str]) -> set[str]:
        """Which of these decisions are archived. Raises ``PostgresUnavailable``."""
        async with transaction(self._engine) as connection:
            query = text("SELECT decision_id FROM decisions WHERE decision_id = ANY(:ids)")
            return {row.decision_id for row in await connection.execute(query, {"ids": list(decision_ids)})}

    async def outcomes(self, decision_id: str) -> list[Outcome]:
        """All outcomes of a decision, in the order of the log. Raises ``PostgresUnavailable``."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(
                text("SELECT * FROM outcomes WHERE decision_id = :id ORDER BY recorded_ms, outcome"),
                {"id": decision_id},
            )
            return [_outcome(row) for row in rows]

    async def observations(self, up_to: Mapping[int, str] | None = None) -> AsyncIterator[list[Outcome]]:
        """All outcomes that teach, in batches, in no particular order (arms are sums).

        ``up_to``: only those at or before these positions of their buckets; a bucket that is missing has none.
        """
        async with transaction(self._engine) as connection:
            stream = await connection.stream(
                text("SELECT * FROM outcomes WHERE reward IS NOT NULL AND NOT late"),
                execution_options={"yield_per": 5000},
            )
            async for rows in stream.partitions():
                outcomes = [_outcome(row) for row in rows]
                yield outcomes if up_to is None else [o for o in outcomes if _before(o, up_to)]

    async def positions_at(self, policy: str, epoch: int) -> dict[int, str] | None:
        """What had been folded into a policy's arms at ``epoch``; ``None`` if that epoch is not archived."""
        async with transaction(self._engine) as connection:
            if not await connection.scalar(
                text("SELECT 1 FROM folds WHERE policy = :policy AND epoch = :epoch LIMIT 1"),
                {"policy": policy, "epoch": epoch},
            ):
                return None
            rows = await connection.execute(
                text(
                    "SELECT DISTINCT ON (bucket) bucket, position FROM folds"
                    " WHERE policy = :policy AND epoch <= :epoch ORDER BY bucket, epoch DESC"
                ),
                {"policy": policy, "epoch": epoch},
            )
            return {row.bucket: row.position for row in rows}


def _before(outcome: Outcome, up_to: Mapping[int, str]) -> bool:
    limit = up_to.get(outcome.bucket)
    return limit is not None and order(outcome.position) <= order(limit)


def _decided(row: Row[Any]) -> Decided:
    return parse_decided(
        row.bucket, row.position, row.header.encode(), row.candidates, row.priors, row.factors or b""
    )


def _outcome(row: Row[Any]) -> Outcome:
    return Outcome(
        bucket=row.bucket,
        position=row.position,
        decision_id=row.decision_id,
        decided_at_ms=round(row.decided_at.timestamp() * 1000),
        offer_id=row.offer_id,
        offer=row.offer_no,
        outcome=row.outcome,
        value=row.value,
        at_ms=row.at_ms,
        recorded_ms=row.recorded_ms,
        late=row.late,
        reward=row.reward,
        prior=row.prior,
        policy=row.policy,
        placement=row.placement,
    )
