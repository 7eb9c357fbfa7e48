"""Ranking: scores, minimum propensities, the caller's own choice, and selections without ``P``."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits.policy import Policy, PolicySpec
from bandits.registry import build_policy
from bandits.state import ArmTable
from decisioning.decide.ranking import (
    WEIGHTS_ONLY_EPSILON,
    SelectionContext,
    select,
    slot_distribution,
    slot_rules,
)
from decisioning.decide.ranking import score_candidates as score
from decisioning.learning.replica import prepare
from decisioning.model.selection import UnitPrice, Withheld
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer, selection_context_of

PROPENSITY = build_policy(PolicySpec("propensity", 1, "propensity"))
THOMPSON = build_policy(PolicySpec("thompson", 1, "thompson"))
NAN = float("nan")


def propensities(*values: float) -> NDArray[np.float32]:
    """Precomputed propensities, NaN where there is none."""
    return np.array(values, dtype=np.float32)


def prepared(policy: Policy, context: SelectionContext) -> Any:
    """Prepare a policy that has no experience."""
    return prepare(policy, ArmTable(policy.width), context.view, NOW_MS)


def test_a_score_is_the_product_of_its_four_factors() -> None:
    context = selection_context_of(
        inputs_of(catalogue_with([offer(1, lever=100.0), offer(2)])),
        base_propensities=propensities(0.5, 0.25),
    )
    (choice,) = select(context, PROPENSITY, prepared(PROPENSITY, context)).choices
    factors = choice.factors
    assert (choice.offer.offer_id, factors.P, factors.C, factors.V, factors.L) == ("o1", 0.5, 1.0, 1.0, 2.0)
    assert choice.score == 1.0
    assert choice.expected == choice.base_propensity == 0.5


def test_what_is_below_its_minimum_is_told_apart_and_not_a_candidate() -> None:
    shop = catalogue_with([offer(1, min_propensity=0.3), offer(2), offer(3, min_propensity=0.3)])
    context = selection_context_of(inputs_of(shop), base_propensities=propensities(0.2, 0.2, NAN))
    found = score(context, PROPENSITY, prepared(PROPENSITY, context))
    assert found.left.tolist() == [False, True, True]  # of the third nothing is known, so it is not below
    assert [number for number, _ in found.unlikely] == [1]
    selection = select(context, PROPENSITY, prepared(PROPENSITY, context))
    assert selection.candidates.tolist() == [2, 3]
    assert selection.unlikely == found.unlikely


def test_what_is_worth_less_than_a_unit_of_its_capacity_is_withheld_and_not_a_candidate() -> None:
    shop = catalogue_with(
        [offer(1, value=10.0), offer(2, value=10.0), offer(3, value=10.0), offer(4), offer(5, mandatory=True)]
    )
    context = selection_context_of(
        inputs_of(shop), base_propensities=propensities(0.25, 0.5, NAN, 0.25, 0.25)
    )
    cheap, dear = (
        UnitPrice(name, price, False, frozenset({1, 2, 3, 5})) for name, price in (("a", 3.0), ("b", 4.0))
    )
    priced = replace(context, prices=(cheap, dear))
    found = score(priced, PROPENSITY, prepared(PROPENSITY, priced))
    assert found.withheld == (Withheld(1, 0.25, 10.0, 4.0, "b"),)  # of the third nothing is known
    selection = select(priced, PROPENSITY, prepared(PROPENSITY, priced))
    assert selection.candidates.tolist() == [2, 3, 4, 5]
    assert selection.withheld == found.withheld
    by_acceptance = replace(
        context, prices=(replace(dear, by_acceptance=True),)
    )  # who does not accept costs nothing
    assert score(by_acceptance, PROPENSITY, prepared(PROPENSITY, context)).withheld == ()
    assert (
        select(replace(priced, caller_choice=(0,)), PROPENSITY, prepared(PROPENSITY, context)).withheld == ()
    )


def test_where_values_do_not_count_nothing_is_withheld() -> None:
    shop = catalogue_with([offer(1), offer(2)], {"off": ("V",)})
    context = selection_context_of(inputs_of(shop), base_propensities=propensities(0.25, 0.5))
    priced = replace(context, prices=(UnitPrice("a", 3.0, False, frozenset({1, 2})),))
    assert score(priced, PROPENSITY, prepared(PROPENSITY, priced)).withheld == ()


def test_the_callers_choice_is_only_scored_in_its_order_as_far_as_it_is_allowed() -> None:
    shop = catalogue_with([offer(n, min_propensity=0.9) for n in (1, 2, 3)], {"slots": 2})
    context = selection_context_of(inputs_of(shop, exhausted=frozenset({3})), caller_choice=(2, 1, 0))
    selection = select(context, THOMPSON, prepared(THOMPSON, context))
    assert [(c.offer.offer_id, c.rank, c.probability) for c in selection.choices] == [
        ("o2", 1, 1.0),
        ("o1", 2, 1.0),
    ]
    assert selection.unlikely == ()  # a minimum is the policy's judgement: it does not overrule the caller's


def test_without_p_the_highest_weight_wins_and_equals_share_above_a_floor() -> None:
    shop = catalogue_with([offer(1, value=5.0), offer(2, value=5.0), offer(3, value=1.0)], {"off": ("P",)})
    context = selection_context_of(inputs_of(shop))
    found = score(context, THOMPSON, prepared(THOMPSON, context))
    distribution = slot_distribution(context, THOMPSON, prepared(THOMPSON, context), found.candidates)
    floor = WEIGHTS_ONLY_EPSILON / 3
    expected = [floor + (1 - 3 * floor) / 2, floor + (1 - 3 * floor) / 2, floor]
    assert distribution(context.available) == pytest.approx(expected)
    (choice,) = select(context, THOMPSON, prepared(THOMPSON, context)).choices
    assert choice.factors.P == 1.0


def test_nothing_available_is_no_choice_and_no_candidate() -> None:
    context = selection_context_of(inputs_of(catalogue_with([offer(1)]), exhausted=frozenset({1})))
    selection = select(context, THOMPSON, prepared(THOMPSON, context))
    assert (selection.choices, len(selection.candidates)) == ((), 0)
    assert selection.propensities is not None  # an explanation still tells what was expected


def test_the_same_inputs_give_the_same_selection_and_another_id_another_draw() -> None:
    shop = catalogue_with([offer(n, value=1.0) for n in range(1, 9)], {"slots": 3})
    inputs = inputs_of(shop)

    def drawn(name: str) -> list[str]:
        context = selection_context_of(inputs, decision_id=name)
        return [c.offer.offer_id for c in select(context, THOMPSON, prepared(THOMPSON, context)).choices]

    assert drawn("a") == drawn("a")
    assert len({tuple(drawn(f"d{n}")) for n in range(30)}) > 10


def test_a_placement_without_classes_exclusions_and_groups_has_no_rules_for_slots() -> None:
    assert slot_rules(selection_context_of(inputs_of(catalogue_with([offer(1)])))) is None
    ruled = catalogue_with([offer(1, mandatory=True)])
    assert slot_rules(selection_context_of(inputs_of(ruled))) is not None
