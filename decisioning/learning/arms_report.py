"""The report on a policy's arms: estimates of each offer, exploration, and whether a leader is settled. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bandits.algorithms.posterior_summary import summarise_posterior
from bandits.intervals import wilson_interval
from bandits.monitoring.diagnostics import (
    diagnose_exploration,
    is_settled,
    leading_arm,
)
from bandits.policy import FloatArray, Policy, PolicyKey
from bandits.sequential_policy import LearnedState
from decisioning.model.deployment import Deployment, champion_of
from decisioning.model.entities import Placement


@dataclass(frozen=True, slots=True)
class SelectionCounts:
    """Selections of one offer: their number, of how many the result is known, and of how many it is an acceptance."""

    decided: int
    observed: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Arm:
    """One offer's arm. ``believed``: mean, low and high of what the policy expects of it, if that can be told.

    ``share``: of the policy's selections lately; ``None`` if it made none.
    """

    offer_id: str
    observations: float
    successes: float
    believed: tuple[float, float, float] | None
    selected: int
    share: float | None

    @property
    def observed(self) -> tuple[float | None, float, float]:
        """The observed rate with its 95 % interval (Wilson)."""
        return wilson_interval(self.successes, self.observations)


@dataclass(frozen=True, slots=True)
class ExplorationSummary:
    """A policy's choice among offers: entropy of its selections, neglected offers, leader, and whether that is settled.

    ``entropy``: 0 if one offer has all, 1 if all have the same; with ``neglected`` unknown (``None``, empty) if it
    selected nothing lately.
    """

    entropy: float | None = None
    neglected: tuple[str, ...] = ()
    leader: str | None = None
    settled: bool | None = None


def report_arms(
    policy: Policy,
    table: LearnedState | None,
    tick: int,
    numbers: Mapping[str, int],
    offers: Collection[str],
    selected: Mapping[str, SelectionCounts],
) -> list[Arm]:
    """Report the arms of ``offers`` (ids), sorted by number. ``numbers``: of all offers there are.

    Observations are what the policy has learned from, where that can be told of it; else what is known of its
    selections lately.
    """
    names = sorted((o for o in offers if o in numbers), key=lambda o: numbers[o])
    found = None
    if table is not None and names:
        known = np.array([numbers[o] for o in names], dtype=np.uint32)
        found = summarise_posterior(policy, table.read(policy, known, tick))
    total = sum(one.decided for one in selected.values())
    arms = []
    for row, offer_id in enumerate(names):
        lately = selected.get(offer_id, SelectionCounts(0, 0, 0))
        n, s = float(lately.observed), float(lately.accepted)
        believed = None
        if found is not None:
            n, s = float(found.observations[row]), float(found.rewards[row])
            believed = (float(found.mean[row]), float(found.low[row]), float(found.high[row]))
        share = lately.decided / total if total else None
        arms.append(Arm(offer_id, n, s, believed, lately.decided, share))
    return arms


def summarise_exploration(arms: Sequence[Arm], weights: Mapping[str, float]) -> ExplorationSummary:
    """Summarise the choice among ``arms``. ``weights``: factors of the expectations of offers in their scores."""
    if not arms:
        return ExplorationSummary()
    weight = np.array([weights.get(arm.offer_id, 1.0) for arm in arms])
    mean, low, high = np.array([_expected(arm) for arm in arms]).T * weight
    first = leading_arm(mean)
    known = any(arm.observations > 0 for arm in arms)
    best = None if first is None or not known else arms[first].offer_id
    sure = is_settled(mean, low, high) if known else None
    share: FloatArray = np.array([arm.selected for arm in arms], dtype=np.float64)
    if not share.any():
        return ExplorationSummary(leader=best, settled=sure)
    found = diagnose_exploration(mean, low, high, [arm.observations for arm in arms], share)
    return ExplorationSummary(found.entropy, tuple(arms[row].offer_id for row in found.neglected), best, sure)


def _expected(arm: Arm) -> tuple[float, float, float]:
    if arm.believed is not None:
        return arm.believed
    rate, low, high = arm.observed
    return (0.0 if rate is None else rate), low, high


def version_shown(
    name: str,
    known: Collection[str],
    placements: Mapping[str, Placement],
    deployments: Mapping[str, Deployment],
) -> int | None:
    """Find the version of a policy that is meant if none is named: the newest that decides somewhere, else the newest.

    ``known``: policies as ``name@version``. ``None`` if there is none of that name.
    """
    versions = [key.version for key in map(PolicyKey, known) if key.name == name]
    deciding = set()
    for placement_id, placement in placements.items():
        deployment = deployments.get(placement_id, Deployment(placement_id))
        canary = () if deployment.canary is None else (deployment.canary.policy,)
        deciding |= {champion_of(placement, deployment), *canary}
    deployed = [version for version in versions if PolicyKey.of(name, version) in deciding]
    return max(deployed or versions, default=None)
