"""The course of a canary's test over time: evidence and intervals after each part of what was counted. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from decisioning.model.deployment import Guardrails
from decisioning.rollout.guardrail import GroupCounts, comparison, evidence_of_better

_MOST_LOG_E = 700.0
"""Evidence is cut off there, as e-values are: it is written as JSON, which has no infinity."""


@dataclass(frozen=True, slots=True)
class CountedPart:
    """Customers who were counted in a part of the time, which ends ``at``."""

    at: datetime
    canary: GroupCounts
    others: GroupCounts


@dataclass(frozen=True, slots=True)
class CoursePoint:
    """The test as it stood ``at`` a time: counts since it began, and what follows of them.

    ``low``, ``high``: the always-valid interval of the difference, canary less champion. ``worse_log_e``: evidence
    that the canary is worse, stages before included; ``better_log_e``: that it is better, of this stage alone. Natural
    logarithms.
    """

    at: datetime
    canary: GroupCounts
    others: GroupCounts
    low: float
    high: float
    worse_log_e: float
    better_log_e: float

    @property
    def difference(self) -> float | None:
        """The rate of the canary less the champion's; ``None`` while one of them has no customer."""
        if self.canary.rate is None or self.others.rate is None:
            return None
        return self.canary.rate - self.others.rate


def course_points(
    parts: Sequence[CountedPart], now: CountedPart, guardrails: Guardrails, carried: float
) -> list[CoursePoint]:
    """Compute the points of a course: one after each of the ``parts``, and the last one of all counts.

    ``now``: what the test has counted in all, and until when. It replaces what the parts add up to at its time: the
    log may tell less by now. ``carried``: ``log_e`` of earlier stages. Some 20 ms of computing for each point.
    """
    sums = accumulate(parts, lambda sum_, part: CountedPart(part.at, *_added(sum_, part)))
    counted = [*(part for part in sums if part.at < now.at), now]
    return [_point(part, guardrails, carried) for part in counted]


def _added(one: CountedPart, other: CountedPart) -> tuple[GroupCounts, GroupCounts]:
    return _sum(one.canary, other.canary), _sum(one.others, other.others)


def _sum(one: GroupCounts, other: GroupCounts) -> GroupCounts:
    return GroupCounts(one.observations + other.observations, one.acceptances + other.acceptances)


def _point(counted: CountedPart, guardrails: Guardrails, carried: float) -> CoursePoint:
    found = comparison(counted.canary, counted.others, guardrails)
    better = evidence_of_better(counted.canary, counted.others, guardrails)
    return CoursePoint(
        counted.at,
        counted.canary,
        counted.others,
        found.difference.low,
        found.difference.high,
        _finite(found.worse.log_e + carried),
        _finite(better.log_e),
    )


def _finite(log_e: float) -> float:
    return min(max(log_e, -_MOST_LOG_E), _MOST_LOG_E)
