"""Arbitration: the weights of a request, and the classes of candidates."""

import numpy as np

from decisioning.catalog.kinds import ContextWeight, Override
from decisioning.decide.ranking import (
    apply_switches,
    compute_context_weights,
    compute_values,
    priority_classes,
    weigh,
)
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer

CANCEL = "context.reason == 'cancel'"


def test_a_view_that_depends_on_nothing_has_fixed_weights() -> None:
    inputs = inputs_of(catalogue_with([offer(1), offer(2)]))
    assert weigh(inputs.view, inputs.evaluation) is weigh(inputs.view, None) is inputs.view.base_weights


def test_context_weights_add_up_over_goal_group_and_offer_and_never_fall_below_zero() -> None:
    weights = {
        "goal": ContextWeight("goal", CANCEL, 100.0, goal="retain"),
        "group": ContextWeight("group", CANCEL, 50.0, group="loans"),
        "offer": ContextWeight("offer", CANCEL, -500.0, offer="o1"),
        "never": ContextWeight("never", "context.reason == 'other'", 70.0, goal="grow"),
    }
    shop = catalogue_with([offer(1), offer(2, group="loans"), offer(3)], context_weights=weights)
    inputs = inputs_of(shop, context={"reason": "cancel"})
    assert np.array_equal(compute_context_weights(inputs.view, inputs.evaluation), [0.0, 2.5, 1.0])
    assert np.array_equal(weigh(inputs.view, inputs.evaluation).C, [0.0, 2.5, 1.0])
    quiet = inputs_of(shop)
    assert np.array_equal(weigh(quiet.view, quiet.evaluation).C, [1.0, 1.0, 1.0])


def test_values_are_computed_where_they_can_be_and_never_negative() -> None:
    offers = [
        offer(1, value_expression="offer.margin * 2.0", attributes={"margin": 3.0}),
        offer(2, value_expression="offer.margin * 2.0"),
        offer(3, value_expression="0.0 - 1.0"),
        offer(4),
    ]
    inputs = inputs_of(catalogue_with(offers))
    assert np.array_equal(compute_values(inputs.view, inputs.evaluation), [6.0, 2.0, 0.0, 4.0])


def test_a_factor_that_is_switched_off_counts_as_one() -> None:
    view = catalogue_with([offer(1, lever=20.0), offer(2)], {"off": ("C", "P")}).view("home")
    weights = apply_switches(view, np.array([3.0, 4.0]), np.array([5.0, 6.0]))
    assert not weights.use_p
    assert np.array_equal(weights.product, [1.0 * 5.0 * 1.2, 1.0 * 6.0 * 1.0])


def test_classes_are_mandatory_overridden_and_all_others() -> None:
    overrides = {
        "now": Override("now", "spring", group="loans", starts_ms=NOW_MS, ends_ms=NOW_MS + 1),
        "over": Override("over", "winter", offer="o1", starts_ms=0, ends_ms=NOW_MS),
    }
    offers = [offer(1), offer(2, group="loans"), offer(3, mandatory=True, group="loans")]
    view = catalogue_with(offers, overrides=overrides).view("home")
    assert priority_classes(view, NOW_MS).tolist() == [0, 1, 2]
    assert priority_classes(view, NOW_MS + 1).tolist() == [0, 0, 2]
