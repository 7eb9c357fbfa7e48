"""Guardrails: when a canary is rolled back by itself, and the reason given. Pure: counts in, verdict out."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from bandits.monitoring.sequential_test import (
    Comparison,
    Counts,
    Evidence,
    compare_canary,
    evidence_of_excess,
    evidence_of_worse,
)
from decisioning.model.degraded import DegradedReason
from decisioning.model.deployment import Guardrails

Cause = Literal["worse", "failures", "slow"]

FAILURES: frozenset[str] = frozenset(
    {DegradedReason.POLICY_FAILED, DegradedReason.POLICY_UNAVAILABLE, DegradedReason.ARMS_UNAVAILABLE}
)
SLOW: frozenset[str] = frozenset({DegradedReason.POLICY_SLOW, "over_budget"})
# A pause of the process, or offers that are prepared anew after a change of the catalogue, hit one decision: were each
# counted, canaries would be rolled back that are no slower than the champion, only rarer.
MIN_SLOW_IN_A_ROW = 2
"""A decision that took longer than the policy's budget counts as slow from this one in a row on."""
WARMING: frozenset[str] = frozenset({DegradedReason.POLICY_UNAVAILABLE, DegradedReason.ARMS_UNAVAILABLE})
"""Failures that say nothing while processes still take in a policy that is new to them."""
WARM_UP_MS = 30_000
"""The time that they may take for it."""


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """Counts of a policy's group since the test began.

    ``observations``: customers, each by the first decision that was made for them (see
    ``decisioning.rollout.results``); ``acceptances``: those who accepted at least one of its offers. ``decisions``:
    all that it should have made, ``failures``: those that it could not make; ``slow``: those that it made too late
    again, or was not asked to make since it was too late too often.
    """

    observations: int = 0
    acceptances: int = 0
    decisions: int = 0
    failures: int = 0
    slow: int = 0

    @property
    def rate(self) -> float | None:
        """The share of customers who accepted; ``None`` if there are none."""
        return self.acceptances / self.observations if self.observations else None

    def add_customer(self, accepted: bool) -> "GroupCounts":
        """Return the counts with one customer more."""
        return replace(self, observations=self.observations + 1, acceptances=self.acceptances + int(accepted))

    def add_decisions(self, decisions: int, kind: Cause | None) -> "GroupCounts":
        """Return the counts with so many decisions more. ``kind``: the way in which it failed in them, if it did."""
        return replace(
            self,
            decisions=self.decisions + decisions,
            failures=self.failures + (decisions if kind == "failures" else 0),
            slow=self.slow + (decisions if kind == "slow" else 0),
        )


@dataclass(frozen=True, slots=True)
class RollbackVerdict:
    """The verdict that a canary must be rolled back: the cause, and the reason in words with the figures."""

    cause: Cause
    reason: str


def judge(
    canary: GroupCounts, champion: GroupCounts, guardrails: Guardrails, carried: float = 0.0
) -> RollbackVerdict | None:
    """Judge whether a canary must be rolled back; ``None``: not (yet). May be called as often as one likes.

    ``carried``: ``log_e`` of the stages before this one, whose counts are not among these.
    """
    # Failures first: they are the quickest to tell. A share of them counts as far as it exceeds the champion's: what
    # hits both (a store that is gone, a process that starts) is not the canary's fault. It is looked at every second,
    # so an observed share that is above the limit is no evidence: with few decisions it will be, at some time.
    failing: tuple[tuple[Cause, int, int, str], ...] = (
        ("failures", canary.failures, champion.failures, "failed in"),
        ("slow", canary.slow, champion.slow, "was slower than its budget in"),
    )
    for cause, bad, others, did in failing:
        # Spares the test where it cannot reject; a limit of 1 can never be exceeded.
        if bad < guardrails.min_failures or guardrails.max_failure_share >= 1.0:
            continue
        excess = evidence_of_excess(
            Counts(canary.decisions, bad),
            Counts(champion.decisions, others),
            alpha=guardrails.alpha,
            margin=guardrails.max_failure_share,
        )
        if excess.rejected:
            share, usual = _share(bad, canary.decisions), _share(others, champion.decisions)
            reason = (
                f"it {did} {bad:,} of {canary.decisions:,} decisions ({_percent(share)};"
                f" the champion {_percent(usual)}); allowed are {_percent(guardrails.max_failure_share)} more;"
                f" e-value {excess.e_value:.3g}, needed {1 / guardrails.alpha:.3g} (alpha {guardrails.alpha:g})"
            )
            return RollbackVerdict(cause, reason)
    found = evidence(canary, champion, guardrails)
    # The product of e-values of stages that follow each other is an e-value again.
    if replace(found, log_e=found.log_e + carried).rejected:
        return RollbackVerdict("worse", _in_words(canary, champion, guardrails, carried))
    return None


def evidence(canary: GroupCounts, champion: GroupCounts, guardrails: Guardrails) -> Evidence:
    """Compute the evidence that the canary is accepted less than the champion, by more than the margin."""
    return evidence_of_worse(
        _counts(canary), _counts(champion), alpha=guardrails.alpha, margin=guardrails.margin
    )


def evidence_of_better(canary: GroupCounts, champion: GroupCounts, guardrails: Guardrails) -> Evidence:
    """Compute the evidence that the canary is accepted more than the champion, by however little."""
    # Not by more than the margin: that is what a canary may be worse by, not what it must be better by.
    return evidence_of_worse(_counts(champion), _counts(canary), alpha=guardrails.alpha)


def comparison(canary: GroupCounts, champion: GroupCounts, guardrails: Guardrails) -> Comparison:
    """Compare both rates, with always-valid intervals and the evidence. Takes some milliseconds."""
    return compare_canary(
        _counts(canary), _counts(champion), alpha=guardrails.alpha, margin=guardrails.margin
    )


def classify_failure(reason: str, *, warming: bool) -> Cause | None:
    """Classify a decision that a policy could not make. ``warming``: it is within ``WARM_MS`` of the start."""
    if reason in SLOW:
        return "slow"
    if reason in FAILURES and not (warming and reason in WARMING):
        return "failures"
    return None


def _in_words(canary: GroupCounts, champion: GroupCounts, guardrails: Guardrails, carried: float) -> str:
    worse = evidence(canary, champion, guardrails)
    before = f" times {math.exp(carried):.3g} from stages before" if carried else ""
    return (
        f"it is worse than the champion: {figures(canary, champion, guardrails)};"
        f" e-value {worse.e_value:.3g}{before}, needed {1 / guardrails.alpha:.3g}"
        f" (alpha {guardrails.alpha:g}, margin {guardrails.margin:g})"
    )


def figures(canary: GroupCounts, champion: GroupCounts, guardrails: Guardrails) -> str:
    """Say in words how much both were accepted, and how far apart they are."""
    low, high = comparison(canary, champion, guardrails).difference
    return (
        f"{_accepted(canary)} accepted, of the champion's {_accepted(champion)};"
        f" difference {_points(_rate(canary) - _rate(champion))} points,"
        f" always-valid {_percent(1 - guardrails.alpha)} interval {_points(low)} to {_points(high)}"
    )


def _counts(counts: GroupCounts) -> Counts:
    return Counts(counts.observations, counts.acceptances)


def _rate(counts: GroupCounts) -> float:
    return counts.rate or 0.0


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _accepted(counts: GroupCounts) -> str:
    return f"{counts.acceptances:,} of {counts.observations:,} customers ({_percent(_rate(counts))})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"
