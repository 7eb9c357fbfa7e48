"""Records of the log as rows in Postgres, and back."""

import math
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Row

from bandits.policy import NO_FACTS
from decisioning.log.records import Decided, Outcome, facts_text, group_of, parse_decided
from storage.clock import to_datetime, to_ms


def decision_row(d: Decided) -> tuple[Any, ...]:
    """A decision as ``DECISION_COLUMNS``."""
    header = d.header
    policy = f"{header['policy']['name']}@{header['policy']['version']}"
    return (
        *(
            d.decision_id,
            to_datetime(header["decided_at_ms"]),
            header["customer_id"],
            header["placement"],
            policy,
        ),
        *(d.bucket, d.position, to_json(header).decode()),
        *(d.candidates.astype("<u4").tobytes(), d.base_propensities.astype("<f4").tobytes()),
        None if d.factors is None else d.factors.astype("<f8").tobytes(),
        group_of(header),
    )


def outcome_row(o: Outcome) -> tuple[Any, ...]:
    """An outcome as ``OUTCOME_COLUMNS``."""
    return (
        *(
            o.decision_id,
            o.offer_id,
            o.outcome,
            to_datetime(o.decided_at_ms),
            o.offer,
            o.value,
            o.at_ms,
            o.recorded_ms,
        ),
        *(o.late, o.reward, o.base_propensity, o.policy, o.placement, o.bucket, o.position),
        *(_known(o.estimate), _known(o.worth), facts_text(o.facts) or None),
    )


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number


def decision_of_row(row: Row[Any]) -> Decided:
    """A decision from its archived columns."""
    return parse_decided(
        row.bucket, row.position, row.header.encode(), row.candidates, row.priors, row.factors or b""
    )


def outcome_of_row(row: Row[Any]) -> Outcome:
    """An outcome from all of its archived columns."""
    return Outcome(
        bucket=row.bucket,
        position=row.position,
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
    )
