"""The log in Postgres, read for history, replay and rebuilding. Who writes it is in ``store_archiver``."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic_core import to_json
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.errors import LogCodecError
from decisioning.log.checkpoints import FIND_BASE, FIND_PACKED_MOVES, Checkpoint, unpack_moves
from decisioning.log.store_archiver import Archiver
from decisioning.log.store_partitions import in_months
from decisioning.log.store_sql import IN_LOG_ORDER, decision_of_row, outcome_of_row
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Identity, Outcome
from decisioning.model.position import StreamPosition
from storage.clock import HOUR_MS, to_datetime, to_ms
from storage.keys import is_reserved, time_of_generated
from storage.postgres import postgres_errors, single_statement, transaction
from storage.tasks import leave_after

__all__ = ["LOOKUP_TIMEOUT_S", "ArchiveReader", "Archiver"]

T = TypeVar("T")
LOOKUP_TIMEOUT_S = 2.0
"""For a decision or its outcomes: a request waits for them."""
BATCH_SIZE = 500
"""Rows that are made into outcomes at once: other tasks wait for so long."""
NOWHERE: Mapping[int, StreamPosition] = MappingProxyType({})


class ArchiveReader:
    """Reads the archived log. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def _rows(self, query: str, **values: Any) -> Sequence[Row[Any]]:
        async with single_statement(self._engine) as connection:
            return (await connection.execute(text(query), values)).all()

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Look something up for a request, which waits neither for long nor for a connection to be closed."""
        async with postgres_errors():
            return await leave_after(work, LOOKUP_TIMEOUT_S)

    async def decision(self, decision_id: str) -> LoggedDecision | None:
        """Read a decision as logged; ``None`` if it is not archived."""
        # Of several under one id the last one: a caller may ask again after an answer that was taken back.
        return await self._in_time(self._find_decision(decision_id))

    async def _find_decision(self, decision_id: str) -> LoggedDecision | None:
        span = await self._span(decision_id)
        # A time that an id names is a hint: what is not found there may be anywhere.
        for condition in ([] if span is None else [in_months(*span)]) + [""]:
            rows = await self._rows(
                "SELECT bucket, position, header::text AS header, candidates, priors, factors FROM decisions"
                f" WHERE decision_id = :id{condition} ORDER BY decided_at DESC LIMIT 1",
                id=decision_id,
            )
            if rows:
                return decision_of_row(rows[0])
        return None

    async def _span(self, decision_id: str) -> tuple[int, int] | None:
        """Find between which times (Unix ms) the decisions of this id were probably made."""
        at_ms = time_of_generated(decision_id)
        if at_ms is not None:
            return at_ms - HOUR_MS, at_ms + HOUR_MS
        if is_reserved(decision_id):
            return None
        query = (
            "SELECT min(decided_at) AS first, max(decided_at) AS last FROM own_ids WHERE decision_id = :id"
        )
        (row,) = await self._rows(query, id=decision_id)
        return None if row.first is None else (to_ms(row.first), to_ms(row.last))

    async def known(self, decisions: Mapping[str, int]) -> set[str]:
        """Pick out those of these decisions that are archived. ``decisions``: ids, with their times (Unix ms)."""
        query = (
            "SELECT decision_id FROM decisions"
            " WHERE decision_id = ANY(:ids) AND decided_at = ANY(CAST(:times AS timestamptz[]))"
        )
        times = [to_datetime(at_ms) for at_ms in sorted(set(decisions.values()))]
        return {row.decision_id for row in await self._rows(query, ids=list(decisions), times=times)}

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

    async def dropped(self) -> dict[int, StreamPosition]:
        """Read up to which position of each bucket outcomes may be gone, since they were older than they may be."""
        return _by_bucket(await self._rows("SELECT bucket, position FROM dropped_outcomes"))

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

    async def outcomes(self, decision_id: str, decided_at_ms: int | None = None) -> list[Outcome]:
        """Read all outcomes of a decision, in the order of the log. ``decided_at_ms``: its time, if that is known.

        An own id may have named several decisions: of those of other months not all outcomes may be found.
        """
        return await self._in_time(self._find_outcomes(decision_id, decided_at_ms))

    async def _find_outcomes(self, decision_id: str, decided_at_ms: int | None) -> list[Outcome]:
        condition = "" if decided_at_ms is None else in_months(decided_at_ms, decided_at_ms)
        query = f"SELECT * FROM outcomes WHERE decision_id = :id{condition} ORDER BY {IN_LOG_ORDER}"
        return [outcome_of_row(row) for row in await self._rows(query, id=decision_id)]

    async def observations(
        self,
        up_to: Mapping[int, StreamPosition] | None = None,
        *,
        behind: Mapping[int, StreamPosition] = NOWHERE,
        since_ms: int = 0,
        placements: Collection[str] = (),
        buckets: Collection[int] = (),
    ) -> AsyncIterator[list[Outcome]]:
        """Yield all outcomes that teach, in batches, in no particular order (arms are sums).

        ``up_to``: only those at or before these positions of their buckets; a bucket that is missing has none.
        ``behind``: only those behind these. ``since_ms``: only those of decisions from then on. ``placements``: only
        those of these, if any are given. ``buckets``: the same.
        """
        where, values = _teaching(since_ms, placements, buckets)
        if behind and up_to is not None:
            moved = {
                bucket
                for bucket, position in up_to.items()
                if position > behind.get(bucket, StreamPosition.START)
            }
            if not moved:
                return
            where += _BETWEEN
            values["first"] = min(behind[b].at_ms if b in behind else 0 for b in moved)
            values["last"] = max(up_to[b].at_ms for b in moved)
        elif behind:
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

    async def checkpoint(self, policy: str, epoch: int) -> Checkpoint | None:
        """Read the last checkpoint of a policy's arms up to an epoch; ``None`` if there is none.

        Raises ``LogCodecError`` if it cannot be read.
        """
        rows = await self._rows(FIND_BASE, policy=policy, epoch=epoch)
        if not rows:
            return None
        try:
            return await asyncio.to_thread(Checkpoint.unpack, rows[0].epoch, bytes(rows[0].arms))
        except ValueError as error:
            raise LogCodecError(f"the arms of {policy} at epoch {rows[0].epoch}: {error}") from error

    async def nth_latest_ms(
        self, n: int, until_ms: int, *, placements: Collection[str] = (), buckets: Collection[int] = ()
    ) -> int:
        """Find when the n-th latest of such outcomes up to ``until_ms`` was decided, Unix ms; 0 if there are fewer."""
        where, values = _teaching(0, placements, buckets)
        rows = await self._rows(
            f"SELECT decided_at FROM outcomes WHERE {where} AND decided_at <= :until"
            " ORDER BY decided_at DESC OFFSET :others LIMIT 1",
            **values,
            until=to_datetime(until_ms),
            others=n - 1,
        )
        return to_ms(rows[0].decided_at) if rows else 0

    async def positions_at(
        self, policy: str, epoch: int, base: Checkpoint | None
    ) -> dict[int, StreamPosition] | None:
        """Read up to where a policy's arms were folded at ``epoch``; ``None`` if that epoch is not archived.

        ``base``: the last checkpoint up to that epoch, if there is one.
        """
        first = -1 if base is None else base.epoch
        found = {} if base is None else dict(base.positions)
        rows = await self._rows(
            "SELECT DISTINCT ON (bucket) bucket, position, epoch FROM folds"
            " WHERE policy = :policy AND epoch > :first AND epoch <= :epoch ORDER BY bucket, epoch DESC",
            policy=policy,
            first=first,
            epoch=epoch,
        )
        moves = [(row.epoch, row.bucket, StreamPosition(row.position)) for row in rows]
        # Those that a checkpoint has taken meanwhile are in both, or in it alone.
        for row in await self._rows(FIND_PACKED_MOVES, policy=policy, epoch=first):
            try:
                packed = await asyncio.to_thread(unpack_moves, bytes(row.moves))
            except ValueError as error:
                raise LogCodecError(f"the folds of {policy} behind epoch {first}: {error}") from error
            moves += [move for move in packed if move[0] <= epoch]
        found.update((bucket, position) for _, bucket, position in sorted(moves))
        return found if epoch == first or any(move[0] == epoch for move in moves) else None


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


_BETWEEN = " AND split_part(position, '-', 1)::bigint BETWEEN :first AND :last"


def _teaching(
    since_ms: int, placements: Collection[str], buckets: Collection[int] = ()
) -> tuple[str, dict[str, Any]]:
    """Make the condition of ``observations``, and its values."""
    where = "(reward IS NOT NULL AND NOT late OR silence_ms IS NOT NULL OR earned IS NOT NULL)"
    values: dict[str, Any] = {}
    if since_ms:
        where += " AND decided_at >= :since"
        values["since"] = to_datetime(since_ms)
    if placements:
        where += " AND placement = ANY(:placements)"
        values["placements"] = [*placements]
    if buckets:
        where += " AND bucket = ANY(:buckets)"
        values["buckets"] = [*buckets]
    return where, values


def _before(outcome: Outcome, up_to: Mapping[int, StreamPosition]) -> bool:
    limit = up_to.get(outcome.bucket)
    return limit is not None and outcome.position <= limit
