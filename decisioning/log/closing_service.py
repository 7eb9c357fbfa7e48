"""Closing decisions that have left Redis unclosed, from the archive, so that silence is not lost.

A waiting decision leaves Redis a day after its window (``GRACE_MS``). If no worker ran for so long, nobody has written
that nothing came of its offers; its id is still due.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bandits.policy import NO_FACTS
from decisioning.log.codec import base_propensity_text, expected_of, facts_text
from decisioning.log.owners import GRACE_MS
from decisioning.log.ports import Archive
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition

MAX_CLOSED = 200
"""Decisions that are looked up in one round."""
POSTPONED_MS = 3_600_000
"""A decision that is not in the archive is looked up again so much later."""


class DueDecisions(Protocol):
    """The decisions that are due, in Redis."""

    async def last_positions(self) -> dict[int, StreamPosition]: ...

    async def settle(self, bucket: int, decision_id: str) -> None: ...

    async def postpone(self, bucket: int, decision_id: str, until_ms: int) -> None: ...


class AppendingLog(Protocol):
    """The part of the log that takes records made elsewhere."""

    async def append(self, bucket: int, mark: str, records: Sequence[Sequence[str | bytes]]) -> bool: ...


class ArchivePositions(Archive, Protocol):
    """The archived log, with the positions up to which it goes."""

    async def positions(self) -> dict[int, StreamPosition]: ...


@dataclass(frozen=True, slots=True)
class ArchivedClosing:
    """Writes the ``expired`` records of decisions that have left Redis, each exactly once."""

    archive: ArchivePositions
    due: DueDecisions
    decision_log: AppendingLog

    async def close(self, left: Sequence[tuple[int, str]], now_ms: int) -> int:
        """Close the first of the decisions ``left``, ``(bucket, id)``; returns how many records were written.

        Those whose outcomes may not all be archived yet stay due. Raises ``Unavailable``.
        """
        if not left:
            return 0
        ends = await self.due.last_positions()
        archived = await self.archive.positions()
        written = 0
        for bucket, decision_id in left[:MAX_CLOSED]:
            logged = await self.archive.decision(decision_id)
            if logged is None:
                await self.due.postpone(bucket, decision_id, now_ms + POSTPONED_MS)
                continue
            position = archived.get(bucket, StreamPosition.START)
            reached_ms = logged.decision.until_ms + GRACE_MS
            if position < ends.get(bucket, StreamPosition.START) and position.at_ms <= reached_ms:
                continue
            outcomes = await self.archive.outcomes(decision_id, logged.decision.decided_at_ms)
            fields = expired_fields(logged, outcomes, now_ms)
            # The mark first tells a repeated record from a new one, should this end before the decision is settled.
            mark = f"{decision_id}:{logged.decision.decided_at_ms}:expired"
            if fields is not None and await self.decision_log.append(bucket, mark, [fields]):
                written += 1
            await self.due.settle(bucket, decision_id)
        return written


def expired_fields(logged: LoggedDecision, outcomes: Iterable[Outcome], now_ms: int) -> list[str] | None:
    """Write the ``expired`` entry of a decision with all of its outcomes, as ``nb_expire`` would have.

    ``None`` if it was closed or withdrawn, or every offer was answered.
    """
    decision = logged.decision
    told = [o for o in outcomes if o.decided_at_ms == decision.decided_at_ms]
    if any(o.outcome in ("expired", "withdrawn") for o in told):
        return None
    numbers, base_propensities = logged.candidates.tolist(), logged.base_propensities.tolist()
    base_propensity_of = dict(zip(numbers, base_propensities, strict=True))
    offers = []
    for offer, number, expected in zip(decision.offers, decision.numbers, expected_of(decision), strict=True):
        seen = {o.outcome: o for o in told if o.offer_id == offer.offer_id}
        if "accepted" in seen or "rejected" in seen:
            continue
        shown = decision.presentation == "implicit" or any(outcome.shows for outcome in seen.values())
        propensity = base_propensity_text(base_propensity_of[number])
        silence = "" if not decision.counts_silence else _silence(logged, seen)
        offers.append(f"{offer.offer_id} {number} {propensity} {'0' if shown else '-'} {expected} {silence}")
    if not offers:
        return None
    fields = {
        "t": "expired",
        "id": decision.decision_id,
        "d": str(decision.decided_at_ms),
        "at": str(decision.until_ms),
        "ts": str(now_ms),
        "p": decision.policy.key,
        "pl": decision.placement,
        "os": ",".join(offers),
        "f": facts_text(decision.facts or NO_FACTS),
    }
    return [part for pair in fields.items() for part in pair]


def _silence(logged: LoggedDecision, seen: Mapping[str, Outcome]) -> str:
    """Return when silence was counted for an offer (Unix ms); empty if it was not."""
    if logged.decision.presentation == "implicit":
        return str(logged.decision.decided_at_ms)
    times = [o.silence_ms for o in seen.values() if o.shows and o.silence_ms is not None]
    return str(times[0]) if times else ""
