"""Estimates of what a target policy would have earned, made of judged slots, and when not to trust them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bandits.errors import EvaluationError
from bandits.intervals import wilson_interval
from bandits.ope.estimators import PolicyValueEstimate, doubly_robust, inverse_propensity, self_normalised
from bandits.ope.weighted_intervals import PayoffTerms, interval_that_holds, payoff_terms, refuse
from bandits.policy import FloatArray

FEW_ROWS = 100.0
"""Effective rows below which it is said that few carry the estimate."""
FEW_SHARE = 0.01
UNSUPPORTED_SCORE = 4.0
MUCH_LEFT_OUT = 0.2
MUCH_OPEN = 0.1
WRONG_PROBABILITIES = (
    "The weights have a mean above 1: the logged probabilities cannot all be right, "
    "and no interval can be made of them."
)


@dataclass(slots=True)
class Judgement:
    """Columns of judged slots that can be used: shape ``(n,)`` each. ``unit`` tells which decision a slot is of.

    ``reward``, ``logging_probability``: what was observed, and with which probability it was shown.
    ``target_probability``: with which the target would have shown it.
    ``estimate``, ``direct``: what the target's own model expected of the offer shown, and of its own choice.
    """

    unit: ArrayLike
    reward: ArrayLike
    logging_probability: ArrayLike
    target_probability: ArrayLike
    estimate: ArrayLike
    direct: ArrayLike
    agrees: ArrayLike


@dataclass(frozen=True, slots=True)
class Earned:
    """Estimates of what the target would have earned in each slot, by three estimators, and what was earned.

    ``lift``: the doubly robust estimate less what was earned, as a paired difference. ``weight``: the mean of the
    weights; it is 1 but for chance, if all that the target would choose had a chance. ``agreement``: the share of slots
    where the target would most likely have shown what was shown; ``same``: with which chance it would have.
    """

    rows: int
    earned: PolicyValueEstimate
    ips: PolicyValueEstimate
    snips: PolicyValueEstimate
    dr: PolicyValueEstimate
    lift: PolicyValueEstimate
    weight: float
    largest_weight: float
    agreement: float
    same: float

    @property
    def effective_rows(self) -> float:
        """The number of equally weighted rows that would tell as much."""
        return self.ips.effective_rows


def estimate(columns: Judgement, *, by_value: bool = False) -> tuple[Earned | None, list[str]]:
    """The estimates, and warnings; ``None`` if nothing can be estimated, and why.

    ``by_value``: rewards are values, of which the largest that was seen is taken for the largest possible one. Else
    they are in [0, 1].
    """
    r, p, q, e, d = _as_arrays(columns)
    unit = columns.unit
    if len(r) == 0:
        return None, ["No slot of the log can be used, so nothing can be estimated."]
    agrees = np.asarray(columns.agrees, dtype=bool)
    try:
        found = Earned(
            rows=len(r),
            earned=inverse_propensity(r, np.ones(len(r)), np.ones(len(r)), units=unit),
            ips=inverse_propensity(r, p, q, units=unit),
            snips=self_normalised(r, p, q, units=unit),
            dr=doubly_robust(r, p, q, e, d, units=unit),
            # Row by row: what both share cancels, so the interval is narrower than that of two estimates.
            lift=doubly_robust(r, p, q, e, d - r, units=unit),
            weight=float((q / p).mean()),
            largest_weight=float((q / p).max()),
            agreement=float(agrees.mean()),
            same=float(q.mean()),
        )
    except EvaluationError as error:
        return None, [f"Nothing can be estimated: {error}."]
    held = _with_intervals(found, columns, by_value)
    return held, [*_warnings(found, q / p), *_beyond_range(held)]


def _as_arrays(columns: Judgement) -> tuple[FloatArray, ...]:
    """Return rewards, logging and target probabilities, expectations and direct estimates: shape ``(n,)`` each."""
    return tuple(
        np.asarray(values, dtype=np.float64)
        for values in (
            columns.reward,
            columns.logging_probability,
            columns.target_probability,
            columns.estimate,
            columns.direct,
        )
    )


def _with_intervals(found: Earned, columns: Judgement, by_value: bool) -> Earned:
    """Return the estimates with intervals that hold, or with the reason for none."""
    r, p, q, e, d = _as_arrays(columns)
    least, most = min(0.0, float(r.min())), float(r.max()) if by_value else max(1.0, float(r.max()))
    span, differences = (least, most), (least - most, most - least)
    deviation = _weight_deviation(found, q / p)
    ones = np.ones(len(r))

    def terms(**more: Any) -> PayoffTerms:
        return payoff_terms(r, p, q, units=columns.unit, supported=deviation >= -1.0, limits=span, **more)

    def held(
        estimate: PolicyValueEstimate, terms: PayoffTerms, span: tuple[float, float]
    ) -> PolicyValueEstimate:
        if deviation > 1.0:
            return refuse(estimate, WRONG_PROBABILITIES)
        return interval_that_holds(estimate, terms, span)

    earned = payoff_terms(r, ones, ones, units=columns.unit, limits=span)
    return replace(
        found,
        earned=cut_to_range(interval_that_holds(found.earned, earned, span), span),
        ips=cut_to_range(held(found.ips, terms(), span), span),
        snips=cut_to_range(held(found.snips, terms(normalised=True), span), span),
        dr=cut_to_range(held(found.dr, terms(expected=e, direct=d), span), span),
        lift=cut_to_range(held(found.lift, terms(expected=e, direct=d - r), differences), differences),
    )


def cut_to_range(found: PolicyValueEstimate, span: tuple[float, float]) -> PolicyValueEstimate:
    """Return an estimate whose interval lies within ``span``, the least and the largest value that are possible.

    The value stays as the estimator gives it. If it lies outside of ``span``, ``cut`` says why that can be.
    """
    least, most = span
    cut = None
    if not least <= found.value <= most:
        beyond = f"below {least:g}, the least" if found.value < least else f"above {most:g}, the largest"
        cut = (
            f"The estimate is {beyond} value that is possible: a few large weights carry it, or weighed errors of the "
            "reward model do. Its interval is cut to what is possible; wait for more decisions."
        )
    if found.refused is not None:
        return replace(found, cut=cut)
    return replace(
        found,
        low=min(max(found.low, least), most),
        high=max(min(found.high, most), least),
        cut=cut,
    )


def _beyond_range(found: Earned) -> list[str]:
    """Name the estimates that lie outside of what is possible."""
    beyond = [
        label
        for label, one in (("IPS", found.ips), ("DR", found.dr), ("the lift", found.lift))
        if one.cut is not None
    ]
    if not beyond:
        return []
    return [
        f"Outside of what is possible: {', '.join(beyond)}. Intervals are cut to that; believe SNIPS sooner."
    ]


def _weight_deviation(found: Earned, weights: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Return how far the mean of the weights is from 1, in units of what chance may explain."""
    spread = float(weights.std()) / math.sqrt(found.rows)  # 0 for equal weights: hence the 1e-9 for rounding
    return 0.0 if found.rows < 2 else (found.weight - 1.0) / (UNSUPPORTED_SCORE * spread + 1e-9)


def _warnings(found: Earned, weights: np.ndarray[Any, np.dtype[np.float64]]) -> list[str]:
    said = []
    effective = found.effective_rows
    if effective < max(FEW_ROWS, FEW_SHARE * found.rows):
        said.append(
            f"Few rows carry most of the weight: {found.rows} tell as much as {effective:.0f} equally weighted ones. "
            "Intervals are wide, or not given; log with more exploration, or wait for more decisions."
        )
    deviation = _weight_deviation(found, weights)
    if deviation < -1.0:
        said.append(
            f"The weights have a mean of {found.weight:.3f} instead of 1: in about {1 - found.weight:.1%} of the slots "
            "the target would show offers that had no chance in the log, or nothing. IPS counts those as 0, "
            "DR takes the target's own word for them; the intervals hold whatever they bring."
        )
    if deviation > 1.0:
        said.append(
            f"The weights have a mean of {found.weight:.3f}, more than 1: the logged probabilities cannot all be right."
        )
    return said


def as_numbers(found: PolicyValueEstimate) -> dict[str, float | None]:
    """Value and interval as JSON takes them: what is infinite is not known."""
    numbers = {"value": found.value, "low": found.low, "high": found.high}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def with_reason(found: PolicyValueEstimate) -> dict[str, float | str | None]:
    """The same with the ``reason`` why there is no interval, or why it is cut; null if there is nothing to say."""
    return {**as_numbers(found), "reason": " ".join(filter(None, (found.cut, found.refused))) or None}


def summary(found: Earned | None) -> dict[str, Any] | None:
    """The estimates as plain JSON."""
    if found is None:
        return None
    return {
        "rows": found.rows,
        "effective_rows": found.effective_rows,
        "earned": with_reason(found.earned),
        **{name: with_reason(getattr(found, name)) for name in ("ips", "snips", "dr", "lift")},
        "mean_weight": found.weight,
        "largest_weight": found.largest_weight,
        "agreement": found.agreement,
        "same_choice": found.same,
    }


def shares(accepted: float, observed: int) -> dict[str, float | None]:
    """An acceptance rate with its Wilson interval."""
    rate, low, high = wilson_interval(accepted, observed)
    return {"value": rate, "low": low, "high": high}


def notes_on(epsilon: float, learns: bool, narrowed: int, left_out: int, rows: int) -> Sequence[str]:
    """Collect what else a reader should know of an evaluation."""
    said = []
    if epsilon == 0.0:
        said.append("The target does not explore: what it would log could not be used to evaluate others.")
    if learns:
        said.append(
            "The target learned from what other policies showed. Live, it would have learned from its own choices."
        )
    if narrowed:
        said.append(
            f"In {narrowed} decisions offers were left out as too unlikely, or worth too little, by the policy that "
            "decided; the target is judged on what was left."
        )
    if left_out > MUCH_LEFT_OUT * (left_out + rows):
        said.append(f"{left_out} of {left_out + rows} slots could not be used; see left_out for the reasons.")
    return said


def notes_on_imported(imported: int, learned: bool) -> list[str]:
    """Say that imported history is not evaluated, if there is some. ``learned``: the target has learned from it."""
    if not imported:
        return []
    use = "the target learned from it" if learned else "a warm start learns from it"
    return [
        f"{imported} imported decisions are left out: with which probability they were made is not known. They do not "
        f"count toward the limit; {use}."
    ]


def notes_on_open(still_open: int, closed: int, what: str) -> list[str]:
    """Say that reward windows are open, if those of many are. ``what``: what is counted."""
    if still_open and not closed:
        return [
            f"Nothing is closed yet: the reward windows of all {still_open} {what} are open. Acceptances are told "
            "before silence, so what is known of them is no fair sample."
        ]
    if still_open > MUCH_OPEN * (still_open + closed):
        return [
            f"{still_open} of {still_open + closed} {what} are not used, since their reward window is still open: "
            "acceptances are told before silence. What is said here is of the time before."
        ]
    return []
