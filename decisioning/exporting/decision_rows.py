"""Rows of exported decisions: one for each offer, with its probability, its candidates and what came of it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from decisioning.decide.ranking import SelectionContext
from decisioning.evaluation.progressive import OutcomeIndex
from decisioning.model.deciders import HISTORY
from decisioning.model.decision import Decision, LoggedDecision
from decisioning.model.outcome import Outcome

ENDS = ("expired", "closed", "withdrawn")
"""Outcomes that say that nothing more can come of a decision."""
ANSWERS = ("accepted", "rejected")


def offer_rows(
    logged: LoggedDecision,
    outcomes: Sequence[Outcome],
    names: Mapping[int, str],
    context: SelectionContext | None,
) -> list[dict[str, Any]]:
    """Make the rows of one decision, as ``schema.COLUMNS["decisions"]``.

    ``outcomes``: all of its own. ``names``: offer ids by number. ``context``: what its catalogue makes of it, ``None``
    if that is not known.
    """
    decision = logged.decision
    index = OutcomeIndex()
    index.add(outcomes)
    kinds = {o.outcome for o in outcomes}
    closed = decision.policy.key == HISTORY or not kinds.isdisjoint(ENDS)
    shared = _shared(decision) | {"closed": closed}
    candidates = _Candidates(logged, names, context)
    rows = []
    for place, (offer, number) in enumerate(zip(decision.offers, decision.numbers, strict=True)):
        factors = offer.factors
        key = decision.decision_id, decision.decided_at_ms, number
        reward, value = index.rewards.get(key, (None, None))
        own = [o for o in outcomes if o.offer == number]
        rows.append(
            shared
            | {
                "rank": offer.rank,
                "offer_id": offer.offer_id,
                "offer_no": number,
                "treatment_id": None if offer.treatment is None else offer.treatment.treatment_id,
                "probability": offer.probability,
                "score": offer.score,
                "factor_p": None if factors is None else factors.P,
                "factor_c": None if factors is None else factors.C,
                "factor_v": None if factors is None else factors.V,
                "factor_l": None if factors is None else factors.L,
                "expected": None if decision.expected is None else decision.expected[place],
                "reward": reward,
                "value": value,
            }
            | candidates.left_after(decision.numbers[:place], number)
            | _told(own, reward, closed, decision.presentation == "implicit")
        )
    return rows


def _shared(decision: Decision) -> dict[str, Any]:
    """Return the columns that are the same for all offers of a decision."""
    return {
        "decision_id": decision.decision_id,
        "decided_at": decision.decided_at_ms,
        "customer_id": decision.customer_id,
        "placement": decision.placement,
        "channel": decision.channel,
        "policy": decision.policy.key,
        "scored_by": None if decision.scored_by is None else decision.scored_by.key,
        "group": decision.group,
        "source": decision.source,
        "catalog_version": decision.catalog_version,
        "epoch": decision.epoch,
        "slots": decision.slots,
        "facts": json_text(decision.facts or {}),
        "context": json_text(decision.context),
        "segments": list(decision.segments or ()),
        "degraded": [str(reason) for reason in decision.degraded],
        "holdouts": list(decision.holdouts or ()),
    }


def _told(own: Iterable[Outcome], reward: float | None, closed: bool, implicit: bool) -> dict[str, Any]:
    """Sum up the outcomes of one offer."""
    by_kind = {o.outcome: o for o in own}
    answers = [by_kind[kind] for kind in ANSWERS if kind in by_kind]
    in_time = next((o for o in answers if not o.late), None)
    if "withdrawn" in by_kind:
        said: str | None = "withdrawn"
    elif in_time is not None:
        said = in_time.outcome
    elif not closed:
        said = None
    else:
        said = "unobserved" if reward is None else "ignored"
    known = [
        o.recorded_ms
        for o in by_kind.values()
        if (o.reward is not None and not o.late) or (o.outcome == "closed" and o.reward is None)
    ]
    return {
        "presented": implicit or any(o.shows for o in by_kind.values()),
        "clicked": "clicked" in by_kind,
        "outcome": said,
        "outcome_at": None if in_time is None else in_time.at_ms,
        "late": any(o.late for o in answers),
        "reward_at": min(known, default=None),
    }


class _Candidates:
    """The candidates of a decision, as columns."""

    def __init__(
        self, logged: LoggedDecision, names: Mapping[int, str], context: SelectionContext | None
    ) -> None:
        self._numbers = logged.candidates.tolist()
        self._names = [names.get(number, f"#{number}") for number in self._numbers]
        self._propensities = _or_null(logged.base_propensities.astype(np.float64).tolist())
        self._weights = self._values = None
        if context is not None:
            row_of = {number: row for row, number in enumerate(context.view.numbers.tolist())}
            rows = [row_of[number] for number in self._numbers]
            self._weights = context.weights.product[rows].tolist()
            values = context.view.value[rows] if logged.factors is None else logged.factors[1]
            self._values = values.tolist()

    def left_after(self, taken: Sequence[int], number: int) -> dict[str, Any]:
        """Return the columns of those that are left after the offers ``taken``; ``number``: the offer shown."""
        left = [i for i, candidate in enumerate(self._numbers) if candidate not in taken]
        own = next((i for i in left if self._numbers[i] == number), None)
        return {
            "base_propensity": None if own is None else self._propensities[own],
            "candidates": [self._names[i] for i in left],
            "candidate_propensities": [self._propensities[i] for i in left],
            "candidate_weights": None if self._weights is None else [self._weights[i] for i in left],
            "candidate_values": None if self._values is None else [self._values[i] for i in left],
        }


def fact_rows(logged: LoggedDecision) -> list[dict[str, Any]]:
    """Make a row of each fact that was logged with a decision, as ``schema.COLUMNS["features"]``."""
    decision = logged.decision
    shared = {
        "decision_id": decision.decision_id,
        "decided_at": decision.decided_at_ms,
        "customer_id": decision.customer_id,
        "placement": decision.placement,
    }
    return [
        shared
        | {
            "path": path,
            "number": float(value) if isinstance(value, (bool, int, float)) else None,
            "text": value if isinstance(value, str) else json_text(value),
        }
        for path, value in sorted((decision.facts or {}).items())
    ]


def outcome_row(o: Outcome) -> dict[str, Any]:
    """Make the row of an outcome, as ``schema.COLUMNS["outcomes"]``."""
    expected, worth, base = _or_null([o.estimate, o.worth, o.base_propensity])
    return {
        "decision_id": o.decision_id,
        "decided_at": o.decided_at_ms,
        "offer_id": o.offer_id,
        "outcome": o.outcome,
        "value": o.value,
        "occurred_at": o.at_ms,
        "recorded_at": o.recorded_ms,
        "late": o.late,
        "reward": o.reward,
        "policy": o.policy,
        "placement": o.placement,
        "expected": expected,
        "worth": worth,
        "base_propensity": base,
        "facts": json_text(dict(o.facts)),
    }


def json_text(value: Any) -> str:
    """Write a value as JSON."""
    return msgspec.json.encode(value, enc_hook=dict).decode()


def _or_null(numbers: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(number) else number for number in numbers]
