"""Records of the log as rows in Postgres, and back."""

import math
from typing import Any

from sqlalchemy import Row

from bandits.policy import NO_FACTS
from decisioning.log.codec import candidate_bytes, encode_decision, facts_text, parse_decided
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.clock import to_datetime, to_ms


def decision_row(d: LoggedDecision) -> tuple[Any, ...]:
    """A decision as ``DECISION_COLUMNS``."""
    decision = d.decision
    candidates, base_propensities, factors = candidate_bytes(d)
    return (
        decision.decision_id,
        to_datetime(decision.decided_at_ms),
        decision.customer_id,
        decision.placement,
        decision.policy.key,
        d.bucket,
        d.position,
        # As it was logged: a field that only a later version knows must not be lost in the archive.
        (d.encoded or encode_decision(decision)).decode(),
        candidates,
        base_propensities,
        factors or None,
        decision.group,
    )


def outcome_row(o: Outcome) -> tuple[Any, ...]:
    """An outcome as ``OUTCOME_COLUMNS``."""
    return (
        o.decision_id,
        o.offer_id,
        o.outcome,
        to_datetime(o.decided_at_ms),
        o.offer,
        o.value,
        o.at_ms,
        o.recorded_ms,
        o.late,
        o.reward,
        o.base_propensity,
        o.policy,
        o.placement,
        o.bucket,
        o.position,
        _known(o.estimate),
        _known(o.worth),
        facts_text(o.facts) or None,
        o.silence_ms,
    )


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def decision_of_row(row: Row[Any]) -> LoggedDecision:
    """A decision from its archived columns. Raises ``LogCodecError``."""
    position = StreamPosition(row.position)
    return parse_decided(
        row.bucket, position, row.header.encode(), row.candidates, row.priors, row.factors or b""
    )


def outcome_of_row(row: Row[Any]) -> Outcome:
    """An outcome from all of its archived columns."""
    return Outcome(
        bucket=row.bucket,
        position=StreamPosition(row.position),
        decision_id=row.decision_id,
        decided_at_ms=to_ms(row.decided_at),
        offer_id=row.offer_id,
        offer=row.offer_no,
        outcome=row.outcome,
        value=row.value,
        at_ms=row.at_ms,
        recorded_ms=row.recorded_ms,
        late=row.late,
        reward=row.reward,
        base_propensity=row.prior,
        policy=row.policy,
        placement=row.placement,
        estimate=math.nan if row.estimate is None else row.estimate,
        worth=math.nan if row.worth is None else row.worth,
        facts=row.facts or NO_FACTS,
        silence_ms=row.silence_ms,
    )
