"""The report on the arms of a policy: from memory or as they were left, beside what was selected lately."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bandits.policy import Policy, PolicyKey, PolicySpec
from bandits.sequential_policy import LearnedState, is_learner
from bandits.state import ArmTable
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.errors import Conflict, NotFound
from decisioning.learning.arms_report import (
    Arm,
    ExplorationSummary,
    SelectionCounts,
    report_arms,
    summarise_exploration,
    version_shown,
)
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmStore
from decisioning.policies.roster import Roster
from storage.errors import PostgresUnavailable, RedisUnavailable

Selections = Callable[[str, datetime, str | None], Awaitable[dict[str, SelectionCounts]]]
"""Gives what a policy selected since a time (at a placement). Raises ``PostgresUnavailable``."""

LATELY_H = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        arms = report_arms(policy, table, tick, catalogue.numbers, {*learned, *selected}, selected)
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
            arms=arms,
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
    weight = fixed.C * fixed.L if spec.learn_from == "value" or view.values else fixed.product
    return {offer.offer_id: float(w) for offer, w in zip(view.offers, weight, strict=True)}


def _warning(mind: ExplorationSummary) -> str | None:
    if not mind.neglected:
        return None
    return (
        f"exploration has died too early: {', '.join(mind.neglected)} may be as good as what is selected most,"
        " and hardly selected any more"
    )
