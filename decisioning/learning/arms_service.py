"""The report on the arms of a policy: estimates of each offer, exploration, and whether a leader is settled.

Of what the policy has learned, from memory or as it was left, beside what was selected lately.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from bandits.algorithms.posterior_summary import load_beta_quantiles, summarise_posterior
from bandits.intervals import wilson_interval
from bandits.monitoring.diagnostics import diagnose_exploration, is_settled, leading_arm
from bandits.policy import FloatArray, Policy, PolicyKey, PolicySpec
from bandits.sequential_policy import LearnedState, is_learner
from bandits.state import ArmTable
from bandits.sums import OfferGroups
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.errors import Conflict, NotFound
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmStore
from decisioning.model.deployment import Deployment, champion_of
from decisioning.model.entities import Placement
from decisioning.policies.roster import Roster
from storage.errors import PostgresUnavailable, RedisUnavailable

LATELY_H = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SelectionCounts:
    """Selections of one offer: their number, and how many were observed, and accepted, in closed reward windows.

    ``open``: how many have a window that is still open.
    """

    decided: int
    observed: int
    accepted: int
    open: int = 0


@dataclass(frozen=True, slots=True)
class Arm:
    """One offer's arm. ``believed``: mean, low and high of what the policy expects of it, if that can be told.

    ``share``: of the policy's selections lately; ``None`` if it made none. ``open``: of those ``selected``, how many
    have a reward window that is still open. ``name``: the offer's; ``None`` if the catalogue has it no more.
    """

    offer_id: str
    observations: float
    successes: float
    believed: tuple[float, float, float] | None
    selected: int
    share: float | None
    open: int = 0
    name: str | None = None

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


Selections = Callable[[str, datetime, str | None], Awaitable[dict[str, SelectionCounts]]]
"""Gives what a policy selected since a time (at a placement). Raises ``PostgresUnavailable``."""


@dataclass(frozen=True, slots=True)
class ArmsReport:
    """The arms of a policy at an ``epoch``.

    ``learned``: whether observations are those that it learned from, not those of its selections lately. ``warning``:
    why exploration has died too early, or what is not known.
    """

    policy: Policy
    algorithm: str
    epoch: int
    learned: bool
    warning: str | None
    mind: ExplorationSummary
    arms: Sequence[Arm]


@dataclass(frozen=True, slots=True)
class ArmsService:
    """Reports on what policies have learned."""

    roster: Roster
    replica: ArmReplica
    arms: ArmStore
    selections: Selections
    clock_ms: Callable[[], int]

    async def report(
        self, catalogue: Catalogue, name: str, version: int | None, placement_id: str | None
    ) -> ArmsReport:
        """Report on a policy; without a version, on the newest that decides anywhere, else the newest.

        Raises ``NotFound`` if there is no such policy or placement, ``Conflict`` if the policy cannot be used in this
        process, ``RedisUnavailable`` if its arms are not known here yet.
        """
        key, policy = self._find(catalogue, name, version)
        await asyncio.to_thread(load_beta_quantiles)
        spec, now_ms = self.roster.spec(key), self.clock_ms()
        view = None if placement_id is None else catalogue.view(placement_id)
        table = await self._table(key, policy)
        unknown = None
        try:
            since = _EPOCH + timedelta(milliseconds=now_ms) - timedelta(hours=LATELY_H)
            selected = await self.selections(key, since, placement_id)
        except PostgresUnavailable:  # what was learned is worth showing without it
            selected, unknown = {}, "what was selected lately cannot be read now"
        if view is None:
            names = {number: offer_id for offer_id, number in catalogue.numbers.items()}
            learned = [names[n] for n in (table.offers() if table else ()) if n in names]
        else:
            learned = [offer.offer_id for offer in view.offers]
        tick = policy.decay.tick(now_ms / 1000)
        arms = report_arms(
            policy,
            table,
            tick,
            catalogue.numbers,
            {*learned, *selected},
            selected,
            catalogue.offer_groups,
        )
        # An offer that is not live cannot be selected: that it is not says nothing about exploration.
        live = {offer.offer_id for offer in catalogue.live_offers(now_ms)}
        judged = [arm for arm in arms if arm.offer_id in live]
        mind = summarise_exploration(judged, {} if view is None else _fixed_weights(view, spec))
        return ArmsReport(
            policy=policy,
            algorithm=spec.algorithm,
            epoch=table.epoch if table else 0,
            learned=bool(arms) and all(arm.believed is not None for arm in arms),
            warning=unknown or _warning(mind),
            mind=mind,
            arms=for_people(arms, catalogue),
        )

    def _find(self, catalogue: Catalogue, name: str, version: int | None) -> tuple[str, Policy]:
        roster = self.roster
        if version is None:
            known = (*roster, *roster.broken)
            version = version_shown(name, known, catalogue.placements, catalogue.deployments)
            if version is None:
                raise NotFound("policy", name)
        key = PolicyKey.of(name, version)
        if key in roster.broken and key not in roster:
            raise Conflict(f"the policy {key} cannot be used here: {roster.broken[key]}")
        policy = roster.get(key)
        if policy is None:
            raise NotFound("policy", key)
        return key, policy

    async def _table(self, key: str, policy: Policy) -> LearnedState | None:
        """Find the arms in memory; those of a policy that is_learner no more are read as they were left."""
        if not is_learner(policy):
            return None
        table = self.replica.table(key)
        if table is not None:
            return table
        if key in self.roster.learning():
            raise RedisUnavailable("the arms have not been loaded yet")
        stored = await self.arms.load(key) if policy.width else None
        if stored is None:
            return None
        table = ArmTable(policy.width, stored.epoch)
        table.put_all(stored.fields.items())
        return table


def _fixed_weights(view: PlacementView, spec: PolicySpec) -> dict[str, float]:
    """Weigh the expectations of offers by what their scores hold beside, where it does not depend on the request."""
    fixed = view.base_weights
    weight = fixed.C * fixed.L if spec.learns_worth or view.values else fixed.product
    return {offer.offer_id: float(w) for offer, w in zip(view.offers, weight, strict=True)}


def _warning(mind: ExplorationSummary) -> str | None:
    if not mind.neglected:
        return None
    return (
        f"exploration has died too early: {', '.join(mind.neglected)} may be as good as what is selected most,"
        " and hardly selected any more"
    )


def report_arms(
    policy: Policy,
    table: LearnedState | None,
    tick: int,
    numbers: Mapping[str, int],
    offers: Collection[str],
    selected: Mapping[str, SelectionCounts],
    groups: OfferGroups | None = None,
) -> list[Arm]:
    """Report the arms of ``offers`` (ids), sorted by number. ``numbers`` and ``groups``: of all offers there are.

    Observations are what the policy has learned from, where that can be told of it; else what is known of its
    selections lately whose reward window is closed.
    """
    names = sorted((o for o in offers if o in numbers), key=lambda o: numbers[o])
    found = None
    if table is not None and names:
        known = np.array([numbers[o] for o in names], dtype=np.uint32)
        found = summarise_posterior(policy, table.read(policy, known, tick, groups=groups))
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
        arms.append(Arm(offer_id, n, s, believed, lately.decided, share, lately.open))
    return arms


def for_people(arms: Sequence[Arm], catalogue: Catalogue) -> list[Arm]:
    """Name the offers, and put those that are selected most first; equals stay in the order that they have."""
    offers = catalogue.offers
    named = [replace(arm, name=offers[arm.offer_id].name if arm.offer_id in offers else None) for arm in arms]
    return sorted(named, key=lambda arm: -arm.selected)


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
