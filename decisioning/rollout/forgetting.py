"""Choosing what the default forgets: the ways that are tried on the log, and when another one is taken. Pure.

A way to forget is a half-life and a time from when on decisions are learned from. A shorter half-life answers to change
that goes on, at a price for ever: it forgets also what still holds. After one change it is better to begin anew there,
and to remember what comes after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bandits.monitoring.paired_losses import ClearGain
from bandits.policy import PolicySpec
from bandits.regression.regression_policy import RegressionPolicy
from storage.clock import to_iso

HALF_LIVES = (90.0, 7.0, 1.0)
"""In days. The first is that of the default as it is built in."""
CUTS = (256, 512, 1024, 2048, 4096, 8192)
"""Numbers of the latest outcomes that are tried as all that there is to learn from."""
MARGIN = 0.01
"""The share of the log loss by which a way that forgets more has to be better."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """A half-life in days (0: none), and the time (Unix ms) from when on decisions are learned from."""

    half_life_days: float
    since_ms: int = 0

    def remembers(self, other: "Forgetting") -> bool:
        """Return whether all counts here at least for what it counts for in ``other``."""
        return self.since_ms <= other.since_ms and (
            not self.half_life_days or 0 < other.half_life_days <= self.half_life_days
        )


def forgetting_of(spec: PolicySpec) -> Forgetting:
    """Return how a policy of the default's algorithm forgets."""
    usual = RegressionPolicy.common_parameters["half_life_days"]
    return Forgetting(float(spec.parameters.get("half_life_days", usual)), spec.learn_since_ms)


def with_forgetting(spec: PolicySpec, forgetting: Forgetting) -> PolicySpec:
    """Return the specification with another way to forget. The usual half-life is left out of the parameters."""
    parameters = {name: value for name, value in spec.parameters.items() if name != "half_life_days"}
    if forgetting.half_life_days != RegressionPolicy.common_parameters["half_life_days"]:
        parameters["half_life_days"] = forgetting.half_life_days
    return replace(spec, parameters=parameters, learn_since_ms=forgetting.since_ms)


def ways_from(now: Forgetting, decided_ms: Sequence[int]) -> list[Forgetting]:
    """List the ways that are tried, ``now`` first. ``decided_ms``: times of the latest decisions, ascending."""
    ways = [now, *(Forgetting(days, now.since_ms) for days in HALF_LIVES)]
    if now.since_ms:
        ways.append(Forgetting(HALF_LIVES[0]))
    ways += [Forgetting(HALF_LIVES[0], decided_ms[-count]) for count in CUTS if count < len(decided_ms)]
    return list(dict.fromkeys(way for way in ways if way.since_ms >= now.since_ms or not way.since_ms))


def margins_of(ways: Sequence[Forgetting]) -> Mapping[int, float]:
    """Return by what share of the loss each way has to be better than the first one: what remembers more, by none."""
    now = ways[0]
    return {number: 0.0 if way.remembers(now) else MARGIN for number, way in enumerate(ways) if number}


def begin_anew(ways: Sequence[Forgetting]) -> list[int]:
    """List the places of the ways that leave out decisions which the first one learns from."""
    return [number for number, way in enumerate(ways) if way.since_ms > ways[0].since_ms]


def reason_of(now: Forgetting, way: Forgetting, gain: ClearGain) -> str:
    """Say in words why a way is taken in the place of the present one."""
    if way.since_ms > now.since_ms:
        change = f"acceptance has changed: only decisions since {to_iso(way.since_ms)} are learned from"
    elif way.since_ms < now.since_ms:
        change = "older decisions tell what is accepted again: all are learned from"
    elif way.remembers(now):
        change = f"acceptance changes less: half is forgotten {_within(way, now)}"
    else:
        change = f"acceptance keeps changing: half is forgotten {_within(way, now)}"
    return (
        f"{change} (log loss of the latest {gain.outcomes} outcomes: {gain.loss:.4f} instead of"
        f" {gain.loss_before:.4f})"
    )


def changes_of(specs: Sequence[PolicySpec]) -> list[int]:
    """List the places of those of these versions, in their order, that forget otherwise than the one before."""
    ways = [Forgetting(HALF_LIVES[0]), *(forgetting_of(spec) for spec in specs)]
    return [place for place, (before, after) in enumerate(pairwise(ways)) if before != after]


def _within(way: Forgetting, now: Forgetting) -> str:
    return f"in {_days(way)} instead of {_days(now)}"


def _days(way: Forgetting) -> str:
    if not way.half_life_days:
        return "no time at all"
    return "a day" if way.half_life_days == 1.0 else f"{way.half_life_days:g} days"
