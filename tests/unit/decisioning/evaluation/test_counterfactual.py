"""Hindsight: what another policy would have done in a logged decision, and which slots tell of it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bandits.conformance.scenarios import make_scenario
from bandits.policy import FloatArray, Policy, PolicySpec
from bandits.registry import build_policy
from bandits.sampling import draw_slots, slot_distributions
from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.ranking import select
from decisioning.evaluation.counterfactual import CounterfactualDecision, judge_decision
from decisioning.model.decision import LoggedDecision, LoggedPolicy
from tests.support.logged import (
    START_MS,
    as_logged,
    catalogue_of,
    changed,
    decided_by,
    record,
    selection_context,
)

NUMBERS = [2, 3, 5, 7, 8, 11]
THOMPSON = PolicySpec("ours", 1, "thompson", {"epsilon": 0.3})
RANDOM = PolicySpec("random", 1, "random")
PROPENSITY = PolicySpec("propensity", 1, "propensity")
SHOPS: dict[str, Catalogue] = {
    "plain": catalogue_of(NUMBERS, slots=3),
    "mandatory": catalogue_of(NUMBERS, slots=3, offers={5: {"mandatory": True}}),
    "apart": catalogue_of(NUMBERS, slots=4, offers={2: {"not_with": ("o3", "o5")}}),
    "overridden": catalogue_of(NUMBERS, slots=3, overridden="o7"),
    "diverse": catalogue_of(NUMBERS, slots=5, max_per_group=1),
    "picky": catalogue_of(NUMBERS, slots=4, min_propensity=0.06),
    "levers": catalogue_of(NUMBERS, slots=3, offers={8: {"lever": 400.0}, 3: {"value": 20.0}}),
    "by weight": catalogue_of(NUMBERS, slots=3, off=("P",), offers={3: {"value": 20.0}}),
}


def ready(spec: PolicySpec, seed: int = 1) -> tuple[Policy, Any]:
    """A policy, with arms that have learned something of the offers."""
    policy = build_policy(spec)
    sums = make_scenario(policy, len(NUMBERS), seed=seed).sums
    return policy, policy.prepare(replace(sums, offers=np.array(NUMBERS, dtype=np.uint32)))


def again(
    shop: Catalogue, decided: LoggedDecision, spec: PolicySpec, group: str = "champion", seed: int = 1
) -> CounterfactualDecision:
    """The decision, judged from the log alone."""
    policy, prepared = ready(spec, seed)
    return judge_decision(as_logged(decided, shop.view("home")), decided, spec, policy, prepared, group)


def logged(
    shop: Catalogue, name: str, spec: PolicySpec = THOMPSON, group: str = "champion"
) -> LoggedDecision:
    """A decision of a policy, with priors and a set of candidates that depend on its name."""
    rng = np.random.default_rng(list(name.encode()))
    base_propensities = np.where(rng.random(6) < 0.3, np.nan, rng.random(6) * 0.2).astype(np.float32)
    available = rng.random(6) < 0.8
    available[rng.integers(6)] = True
    asked = selection_context(shop.view("home"), name, START_MS, base_propensities, available)
    return decided_by(asked, spec, *ready(spec), group)


@pytest.mark.parametrize("shop", SHOPS.values(), ids=SHOPS)
@pytest.mark.parametrize("group", ["champion", "no_levers"])
@pytest.mark.parametrize("spec", [THOMPSON, RANDOM, PROPENSITY], ids=lambda s: s.name)
def test_the_logging_policy_itself_has_the_logged_chances_bit_for_bit(
    shop: Catalogue, group: str, spec: PolicySpec
) -> None:
    shown = 0
    for i in range(60):
        decided = logged(shop, f"d{i}", spec, group)
        judged = again(shop, decided, spec, group)
        probabilities = [offer.probability for offer in decided.decision.offers]
        assert [slot.target_probability for slot in judged.slots] == probabilities
        assert [slot.logging_probability for slot in judged.slots] == probabilities
        assert [slot.offer for slot in judged.slots] == list(decided.decision.numbers)
        shown += len(probabilities)
    assert shown > 60


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True), st.integers(1, 6), st.text(max_size=8)
)
def test_slots_are_given_what_they_were_drawn_from(here: list[int], slots: int, seed: str) -> None:
    weights = np.array([1.0, 5.0, 2.0, 0.5, 3.0, 1.0])
    available = np.isin(np.arange(6), here)

    def distribution(left: Any) -> FloatArray:
        found: FloatArray = np.where(left, weights, 0.0) / weights[left].sum()
        return found

    drawn = draw_slots(distribution, available, slots, seed)
    given_back = list(slot_distributions(distribution, available, [index for index, _ in drawn]))
    assert [chances[index] for chances, (index, _) in zip(given_back, drawn, strict=True)] == [
        p for _, p in drawn
    ]
    assert list(np.flatnonzero(available)) == sorted(here)


def test_another_policy_is_judged_given_what_the_earlier_slots_took() -> None:
    shop = SHOPS["plain"]
    decided = logged(shop, "d1")
    left = len(decided.candidates)
    judged = again(shop, decided, RANDOM)
    assert [slot.target_probability for slot in judged.slots] == pytest.approx(
        [1 / (left - k) for k in range(3)]
    )
    assert [slot.unusable for slot in judged.slots] == [None] * 3


def test_a_target_is_seen_as_a_champion_also_where_levers_did_not_count() -> None:
    found = []
    for i in range(20):
        decided = logged(SHOPS["levers"], f"d{i}", THOMPSON, "no_levers")
        found += [slot for slot in again(SHOPS["levers"], decided, THOMPSON).slots if slot.offer == 8]
    assert all(
        slot.target_probability > slot.logging_probability for slot in found if slot.logging_probability < 0.5
    )
    assert len(found) > 5


def test_what_it_expects_of_its_own_choice_is_a_mean_over_its_chances() -> None:
    shop = catalogue_of(NUMBERS, offers={8: {"value": 7.0}}, slots=2)
    decided = logged(shop, "d4")
    (first, second) = again(shop, decided, RANDOM).slots
    rows = decided.candidates.tolist()
    expected = dict(zip(rows, np.nan_to_num(decided.base_propensities.astype(float)).tolist(), strict=True))
    assert first.estimate == pytest.approx(expected[first.offer])
    assert first.direct == pytest.approx(np.mean(list(expected.values())))
    values = {n: p * (7.0 if n == 8 else 1.0) for n, p in expected.items()}
    assert first.worth == pytest.approx(values[first.offer])
    assert first.direct_worth == pytest.approx(np.mean(list(values.values())))
    rest = [p for n, p in expected.items() if n != first.offer]
    assert second.direct == pytest.approx(np.mean(rest))


def test_a_policy_that_learns_from_value_expects_money() -> None:
    shop = catalogue_of(NUMBERS, offers={n: {"value": 4.0} for n in NUMBERS}, slots=1)
    decided = logged(shop, "d5")
    spec = replace(RANDOM, learn_from="value", value_scale=8.0)
    plain, money = (again(shop, decided, s).slots[0] for s in (RANDOM, spec))
    assert money.worth == pytest.approx(8.0 * plain.estimate)
    assert money.estimate == pytest.approx(2.0 * plain.estimate)
    assert plain.worth == pytest.approx(4.0 * plain.estimate)


def test_it_tells_what_it_would_most_likely_have_shown() -> None:
    shop = SHOPS["plain"]
    agreements = set()
    for i in range(20):
        decided = logged(shop, f"d{i}")
        slot = again(shop, decided, PROPENSITY).slots[0]
        base_propensities = dict(
            zip(decided.candidates.tolist(), np.nan_to_num(decided.base_propensities).tolist(), strict=True)
        )
        assert base_propensities[slot.best] == max(base_propensities.values())
        assert slot.agrees == (slot.best == slot.offer) == (slot.target_probability == 1.0)
        agreements.add(slot.agrees)
    assert agreements == {True, False}


def test_where_all_is_too_unlikely_for_the_target_it_would_show_nothing() -> None:
    shop = catalogue_of(NUMBERS, slots=2, min_propensity=0.9)
    asked = selection_context(shop.view("home"), "d", START_MS)
    selection = select(asked, *ready(RANDOM))  # it knows nothing, so nothing is too unlikely
    decided = record(asked, selection, "random@1", "control")
    judged = again(shop, decided, THOMPSON)
    assert [(slot.target_probability, slot.direct, slot.best) for slot in judged.slots] == [(0.0, 0.0, 0)] * 2
    assert not judged.narrowed


def test_what_was_too_unlikely_for_the_logging_policy_is_noted() -> None:
    shop = SHOPS["picky"]
    found = [again(shop, d, RANDOM) for d in (logged(shop, f"d{i}") for i in range(30)) if d.decision.numbers]
    assert {judged.narrowed for judged in found} == {True, False}


def test_only_the_first_slots_are_judged_if_that_is_enough() -> None:
    decided = logged(SHOPS["plain"], "d1")
    policy, prepared = ready(THOMPSON)
    found = judge_decision(
        as_logged(decided, SHOPS["plain"].view("home")), decided, THOMPSON, policy, prepared, most=1
    )
    assert found.slots == again(SHOPS["plain"], decided, THOMPSON).slots[:1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source": "history"}, "imported"),
        ({"logged_group": "caller", "scored_by": LoggedPolicy("ours", 1)}, "caller"),
        ({"logged_group": "eligibility_only"}, "rules"),
        ({"logged_group": "caller"}, None),
        ({"logged_group": "canary"}, None),
    ],
)
def test_decisions_that_tell_nothing_of_others(changes: dict[str, Any], reason: str | None) -> None:
    decided = changed(logged(SHOPS["plain"], "d1"), **changes)
    assert {slot.unusable for slot in again(SHOPS["plain"], decided, THOMPSON).slots} == {reason}


def test_slots_that_tell_nothing_of_others() -> None:
    for i in range(20):
        decided = logged(SHOPS["mandatory"], f"d{i}")
        for slot in again(SHOPS["mandatory"], decided, RANDOM).slots:
            assert slot.unusable == ("mandatory" if slot.offer == 5 else None)
        first = logged(SHOPS["overridden"], f"d{i}")
        for slot in again(SHOPS["overridden"], first, RANDOM).slots:
            assert slot.unusable is None  # nobody else ran for it: the target would have shown it as well
            assert slot.offer != 7 or (slot.target_probability, slot.logging_probability) == (1.0, 1.0)
    greedy = logged(SHOPS["plain"], "d1", PROPENSITY)
    assert [slot.unusable for slot in again(SHOPS["plain"], greedy, RANDOM).slots] == ["certain"] * 3
    unknown = logged(SHOPS["plain"], "d1")
    offers = [*unknown.decision.offers]
    offers[1] = structs.replace(offers[1], probability=None)
    unknown = changed(unknown, offers=tuple(offers))
    slots = again(SHOPS["plain"], unknown, RANDOM).slots
    assert [slot.unusable for slot in slots] == [None, "default", None]
    assert math.isnan(slots[1].logging_probability)
