"""History: decisions that somebody else made, appended to the log, so that arms start warm."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import numpy as np

from decisioning.log.codec import decided_fields, outcome_fields
from decisioning.log.ports import DecisionLog
from decisioning.model.deciders import HISTORY
from decisioning.model.decision import DecidedOffer, Decision, LoggedDecision, LoggedPolicy
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.keys import Keys

PLACEMENT = "history"
BATCH_SIZE = 200
_REWARDS = {"accepted": 1.0, "rejected": 0.0, "expired": 0.0}


@dataclass(frozen=True, slots=True)
class PastDecision:
    """One row of history: an offer that somebody chose, and what came of it. Times in Unix milliseconds."""

    customer_id: str
    offer_id: str
    decided_at_ms: int
    outcome: str
    occurred_at_ms: int
    value: float | None
    placement: str | None
    propensity: float
    reason_id: str | None = None

    @property
    def decision_id(self) -> str:
        """The id of the decision, made of the row."""
        # The same row has the same id, so importing a file twice counts once.
        text = (
            f"{self.customer_id}\x00{self.offer_id}\x00{self.decided_at_ms}\x00{self.placement or PLACEMENT}"
        )
        return f"past-{blake2b(text.encode(), digest_size=16).hexdigest()}"


class KnownIds(Protocol):
    """Tells which decisions are archived. Raises ``PostgresUnavailable``."""

    async def known(self, decisions: Mapping[str, int]) -> set[str]: ...


@dataclass(frozen=True, slots=True)
class HistoryImporter:
    """Appends past decisions with their outcomes."""

    decision_log: DecisionLog
    archive: KnownIds
    keys: Keys
    numbers: Mapping[str, int]
    catalog_version: int

    async def append(self, rows: Sequence[PastDecision]) -> int:
        """Append rows in their order; returns how many were new.

        Raises ``RedisUnavailable`` or ``PostgresUnavailable`` if a store does not answer; the same rows may be appended
        again.
        """
        new = 0
        for start in range(0, len(rows), BATCH_SIZE):
            part = rows[start : start + BATCH_SIZE]
            known = await self.archive.known({row.decision_id: row.decided_at_ms for row in part})
            done = await asyncio.gather(*(self._one(row) for row in part if row.decision_id not in known))
            new += sum(done)
        return new

    async def _one(self, row: PastDecision) -> bool:
        bucket = self.keys.bucket(row.customer_id)
        number = self.numbers[row.offer_id]
        placement = row.placement or PLACEMENT
        decision = Decision(
            decision_id=row.decision_id,
            customer_id=row.customer_id,
            placement=placement,
            channel=None,
            presentation="implicit",
            policy=LoggedPolicy.of(HISTORY),
            control=False,
            catalog_version=self.catalog_version,
            epoch=0,
            decided_at_ms=row.decided_at_ms,
            until_ms=row.occurred_at_ms,
            context={},
            limit=None,
            slots=1,
            # Their probability is not known and is logged as null, so evaluation leaves them out; learning does not.
            offers=(DecidedOffer(row.offer_id, 1),),
            numbers=(number,),
            degraded=(),
            feedback_until=None,
            source="history",
        )
        outcome = Outcome(
            bucket=bucket,
            position=StreamPosition(),
            decision_id=row.decision_id,
            decided_at_ms=row.decided_at_ms,
            offer_id=row.offer_id,
            offer=number,
            outcome=row.outcome,
            value=row.value,
            at_ms=row.occurred_at_ms,
            recorded_ms=row.occurred_at_ms,
            late=False,
            reward=_REWARDS[row.outcome],
            base_propensity=row.propensity,
            policy=HISTORY,
            placement=placement,
            reason=row.reason_id,
        )
        candidates = np.array([number], np.uint32), np.array([row.propensity], np.float32)
        logged = LoggedDecision(bucket, StreamPosition(), decision, *candidates)
        return await self.decision_log.append(
            bucket, row.decision_id, [decided_fields(logged), outcome_fields(outcome)]
        )
