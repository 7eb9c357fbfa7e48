"""The report on a policy's arms, and the summary of its exploration."""

import numpy as np
import pytest

from bandits.policy import Observation, PolicySpec
from bandits.registry import build_policy
from bandits.state import ArmTable, fold_observations
from bandits.sums import OfferGroups
from decisioning.learning.arms_service import (
    Arm,
    ExplorationSummary,
    SelectionCounts,
    for_people,
    report_arms,
    summarise_exploration,
    version_shown,
)
from decisioning.model.deployment import Canary, Deployment
from decisioning.model.entities import Placement
from tests.support.shop import catalogue_with, offer

NUMBERS = {"gold": 1, "silver": 2, "bronze": 3}


def arm(
    offer_id: str, n: float, s: float, selected: int, believed: tuple[float, float, float] | None = None
) -> Arm:
    """An arm."""
    return Arm(offer_id, n, s, believed, selected, None)


def test_arms_with_what_was_learned_and_selected() -> None:
    policy = build_policy(PolicySpec("p", 1, "thompson", {"half_life_days": 0.0}))
    table = ArmTable(policy.width)
    tick = policy.decay.tick(1_700_000_000.0)
    weight = policy.decay.weight(1_700_000_000.0)
    table.add(f"1:{policy.decay.period(1_700_000_000.0)}", np.array([50.0, 20.0, 5.0]) * weight)
    selected = {"gold": SelectionCounts(30, 20, 9), "bronze": SelectionCounts(10, 4, 1)}
    gold, bronze = report_arms(policy, table, tick, NUMBERS, {"bronze", "gold", "gone"}, selected)
    assert gold.offer_id == "gold"
    assert (gold.observations, gold.successes) == pytest.approx((50, 20))
    assert gold.observed[0] == pytest.approx(0.4)
    assert gold.believed is not None
    assert gold.believed[1] < gold.believed[0] < gold.believed[2]
    assert (gold.selected, gold.share) == (30, 0.75)
    assert (bronze.observations, bronze.selected, bronze.share) == (0, 10, 0.25)


def test_a_cold_offer_is_reported_at_the_level_of_its_group() -> None:
    policy = build_policy(PolicySpec("p", 1, "calibrated", {"group_shrinkage": 2.0}))
    table, now_s = ArmTable(policy.width), 1_700_000_000.0
    accepted = [(Observation(1, 1.0, float("nan")), now_s)] * 30
    for field, delta in fold_observations(policy, accepted).items():
        table.add(field, delta)
    groups = OfferGroups.of({1: "metals", 2: "metals", 3: "others"})
    tick = policy.decay.tick(now_s)
    gold, silver, bronze = report_arms(policy, table, tick, NUMBERS, set(NUMBERS), {}, groups)
    assert gold.believed is not None
    assert silver.believed is not None
    assert bronze.believed is not None
    assert gold.believed[0] > silver.believed[0] > bronze.believed[0]


def test_of_a_policy_that_learns_nothing_selections_are_told() -> None:
    policy = build_policy(PolicySpec("p", 1, "random"))
    (gold,) = report_arms(policy, None, 0, NUMBERS, {"gold"}, {"gold": SelectionCounts(30, 20, 9)})
    assert (gold.observations, gold.successes, gold.believed) == (20, 9, None)
    (silver,) = report_arms(policy, None, 0, NUMBERS, {"silver"}, {})
    assert (silver.observations, silver.share, silver.observed) == (0, None, (None, 0.0, 1.0))


def test_minds() -> None:
    assert summarise_exploration([], {}) == ExplorationSummary()
    even = [arm("gold", 500, 50, 10), arm("silver", 500, 49, 10)]
    assert summarise_exploration(even, {}) == ExplorationSummary(1.0, (), "gold", False)
    clear = [arm("gold", 5000, 1500, 99), arm("silver", 5000, 500, 1)]
    found = summarise_exploration(clear, {})
    assert (found.neglected, found.leader, found.settled) == ((), "gold", True)
    assert found.entropy is not None
    assert 0 < found.entropy < 0.2
    assert summarise_exploration(clear, {"silver": 10.0}).leader == "silver"
    early = [arm("gold", 500, 50, 999), arm("silver", 10, 1, 1)]
    assert summarise_exploration(early, {}).neglected == ("silver",)
    believed = [arm("gold", 10, 1, 0, (0.1, 0.0, 0.3)), arm("silver", 0, 0, 0, (0.2, 0.0, 0.5))]
    assert summarise_exploration(believed, {}) == ExplorationSummary(None, (), "silver", False)
    assert summarise_exploration([arm("gold", 0, 0, 0), arm("silver", 0, 0, 0)], {}) == ExplorationSummary()


def test_the_version_that_is_shown() -> None:
    placements = {"web": Placement("web", "web", policy="a"), "desk": Placement("desk", "web", policy="b")}
    known = ["a@1", "a@2", "a@10", "b@1", "b@2"]
    assert version_shown("a", known, placements, {}) == 1
    assert version_shown("c", known, placements, {}) is None
    canary = Deployment("web", None, Canary("a@2", 0.1, 0))
    assert version_shown("a", known, placements, {"web": canary}) == 2
    other = Deployment("web", "b@2")
    assert version_shown("a", known, placements, {"web": other}) == 10
    assert version_shown("b", known, placements, {"web": other}) == 2


def test_what_is_selected_most_comes_first_with_its_name() -> None:
    shop = catalogue_with([offer(1, name="Gold card"), offer(2, name="Silver card")])
    arms = [arm("o1", 9, 1, 10), arm("gone", 9, 1, 0), arm("o2", 9, 1, 30), arm("gone-too", 9, 1, 10)]
    found = for_people(arms, shop)
    assert [(one.offer_id, one.name) for one in found] == [
        ("o2", "Silver card"),
        ("o1", "Gold card"),
        ("gone-too", None),
        ("gone", None),
    ]
