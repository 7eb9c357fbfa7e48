"""The archiver's side of the log in Postgres: batches are written with COPY, each exactly once."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import asyncpg

from decisioning.log.checkpoints import (
    DELETE_FOLDS,
    FOLDED_AT,
    FOLDS_BEHIND,
    INSERT_CHECKPOINT,
    LAST_CHECKPOINT,
    LOCK_CHECKPOINTS,
    MAX_PACKED,
    Checkpoint,
    pack_moves,
)
from decisioning.log.store_dead_letters import (
    HOLD_LETTER,
    NOTE_RETRY,
    TAKE_LETTER,
    Deed,
    Fetch,
    copy_or_refuse,
    letter_id,
    set_aside,
)
from decisioning.log.store_partitions import Partitions
from decisioning.log.store_sql import (
    DECISION_COLUMNS,
    EVENT_COLUMNS,
    INSERT_DECISIONS,
    INSERT_EVENTS,
    INSERT_OUTCOMES,
    NOTE_OWN_IDS,
    OUTCOME_COLUMNS,
    STAGING,
    UNMARK_DAYS_OF_DECISIONS,
    UNMARK_DAYS_OF_OUTCOMES,
    decision_row,
    event_row,
    outcome_row,
)
from decisioning.log.store_stream import Batch, UnreadEntry
from decisioning.model.decision import LoggedDecision
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.errors import PostgresUnavailable
from storage.locks import ARCHIVER_LOCK
from storage.postgres import POSTGRES_ERRORS, connector

SESSION = {"idle_in_transaction_session_timeout": "60s"}  # a turn whose process has vanished comes to an end


class Archiver:
    """Writes batches of the log on a connection of its own, with COPY. Several may run: they take turns.

    Methods raise ``PostgresUnavailable``.
    """

    def __init__(self, url: str) -> None:
        self._connect = connector(url, timeout=2, command_timeout=30, server_settings=SESSION)
        self._connection: asyncpg.Connection | None = None
        self._partitions = Partitions()

    async def close(self) -> None:
        """Give the connection back."""
        self._partitions.forget()
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

    async def make_partitions(self, now: datetime, batch: Batch | None = None) -> None:
        """Make partitions for the present month and the next ones, and some that a batch needs.

        Not during a ``turn``: what makes a partition is a transaction of its own, so that it holds few locks, and none
        for as long as a batch takes.
        """
        async with self._connected("make partitions") as connection:
            await self._partitions.make_ahead(connection, now)
            if batch is not None:
                await self._partitions.make(connection, self.lacking(batch, now))

    def lacking(self, batch: Batch, now: datetime) -> list[datetime]:
        """Find months of a batch, at most a few at a time, for which ``make_partitions`` should be called first."""
        times_ms = [d.decision.decided_at_ms for d in batch.decided] + [e.event.at_ms for e in batch.events]
        return self._partitions.lacking(times_ms, now)

    async def write(self, batch: Batch, fetch: Fetch | None = None) -> int:
        """Archive a batch and move the positions; only during a ``turn``, which translates what is raised.

        Entries that cannot be archived are set aside as ``fetch`` reads them; without it that raises. Returns how many
        were.
        """
        connection = self._connection
        assert connection is not None
        unread = batch.unread
        if fetch is None:
            await self._copy(connection, batch.decided, batch.outcomes, batch.events)
        else:
            refused = await copy_or_refuse(connection, batch, partial(self._copy, connection))
            unread = unread + [UnreadEntry(*at, await fetch(*at), why) for at, why in refused.items()]
        await set_aside(connection, unread)
        # In the same transaction as the rows, so that no entry is archived and left, or passed over and lost.
        await connection.execute(
            "INSERT INTO archived SELECT * FROM unnest($1::smallint[], $2::text[])"
            " ON CONFLICT (bucket) DO UPDATE SET position = excluded.position",
            list(batch.last.keys()),
            list(batch.last.values()),
        )
        return len(unread)

    async def write_again(
        self, batch: Batch, bucket: int, position: StreamPosition, deed: Deed
    ) -> str | None:
        """Archive an entry that was set aside; only during a ``turn``.

        Returns why it still cannot be, nothing if it is archived, and ``None`` if it is not set aside any more.
        """
        connection = self._connection
        assert connection is not None
        # It may have been archived, dropped, or erased with its customer since it was read.
        if not await connection.fetchval(HOLD_LETTER, bucket, position):
            return None
        refused = await copy_or_refuse(connection, batch, partial(self._copy, connection))
        if refused:
            return next(iter(refused.values()))
        await connection.execute(TAKE_LETTER, bucket, position)
        await connection.execute(NOTE_RETRY, deed.author, deed.reason, letter_id(bucket, position))
        return ""

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

    async def write_checkpoint(self, policy: str, checkpoint: Checkpoint) -> int:
        """Keep a policy's arms at an epoch, whose folds are archived; returns the size in bytes.

        The folds since the checkpoint before are packed into it, and leave the table of folds. Nothing is kept where
        the archive has another fold at that epoch: Redis lost some then, and the arms are not those of the decisions.
        """
        # In threads, since arms may be large, and learners share the event loop.
        packed = await asyncio.to_thread(checkpoint.pack)
        async with self._connected("take a checkpoint") as connection, connection.transaction():
            await connection.execute(LOCK_CHECKPOINTS, policy)
            last = await connection.fetchval(LAST_CHECKPOINT, policy)
            folded = await connection.fetch(FOLDED_AT, policy, checkpoint.epoch)
            told = [checkpoint.positions.get(row["bucket"]) == row["position"] for row in folded]
            if last >= checkpoint.epoch or not told or not all(told):
                return len(packed)
            moves = await connection.fetch(FOLDS_BEHIND, policy, last, checkpoint.epoch, MAX_PACKED + 1)
            few = len(moves) <= MAX_PACKED
            packed_moves = await asyncio.to_thread(pack_moves, map(tuple, moves) if few else ())
            await connection.execute(INSERT_CHECKPOINT, policy, checkpoint.epoch, packed, packed_moves)
            if few:
                await connection.execute(DELETE_FOLDS, policy, last, checkpoint.epoch)
        return len(packed)

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
                self._connection = await self._connect()
                for statement in STAGING:
                    await self._connection.execute(statement)
            yield self._connection
        except POSTGRES_ERRORS as error:
            await self.close()
            raise PostgresUnavailable(f"postgres did not {doing}: {error}") from error

    @staticmethod
    async def _copy(
        connection: asyncpg.Connection,
        decided: Sequence[LoggedDecision],
        outcomes: Sequence[Outcome],
        events: Sequence[LoggedEvent],
    ) -> None:
        if decided:
            await connection.copy_records_to_table(
                "stage_decisions", records=[decision_row(d) for d in decided], columns=DECISION_COLUMNS
            )
            await connection.execute(INSERT_DECISIONS)
            await connection.execute(NOTE_OWN_IDS)
            await connection.execute(UNMARK_DAYS_OF_DECISIONS)
        if outcomes:
            await connection.copy_records_to_table(
                "stage_outcomes", records=[outcome_row(o) for o in outcomes], columns=OUTCOME_COLUMNS
            )
            await connection.execute(INSERT_OUTCOMES)
            await connection.execute(UNMARK_DAYS_OF_OUTCOMES)
        if events:
            await connection.copy_records_to_table(
                "stage_events", records=[event_row(e) for e in events], columns=EVENT_COLUMNS
            )
            await connection.execute(INSERT_EVENTS)


async def _positions(connection: asyncpg.Connection) -> dict[int, StreamPosition]:
    rows = await connection.fetch("SELECT bucket, position FROM archived")
    return {row["bucket"]: StreamPosition(row["position"]) for row in rows}
