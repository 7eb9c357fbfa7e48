"""Experiment groups: sticky, disjoint, of the size that was asked for; and what a group changes in the weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.policy import PolicySpec
from decisioning.decide.policy_runner import Assignment, adjust_weights_for_group, assign, assign_holdouts
from decisioning.holdouts.holdout import Holdout
from decisioning.model.deployment import Canary, ControlGroup, Deployment
from decisioning.model.entities import Placement
from tests.support.shop import catalogue_with, inputs_of, offer, selection_context_of, view_of

CUSTOMERS = [f"customer-{n}" for n in range(20_000)]
PLACEMENT = Placement("home", "web", control_share=0.1)
SPEC = PolicySpec("p", 1, "thompson")


def groups(deployment: Deployment | None, placement: Placement = PLACEMENT) -> dict[str, Assignment]:
    """The assignment of each customer."""
    view = view_of(placement, deployment)
    return {customer: assign(customer, view, deployment) for customer in CUSTOMERS}


def shares(assigned: dict[str, Assignment]) -> dict[str, float]:
    """The share of each group."""
    names = [one.group for one in assigned.values()]
    return {name: names.count(name) / len(names) for name in set(names)}


def test_without_a_deployment_the_placement_policy_decides_beside_its_control_group() -> None:
    assigned = groups(None)
    view = view_of(PLACEMENT)
    assert assign("ann", view, None) == assign("ann", view, None)
    assert shares(assigned) == pytest.approx({"control": 0.1, "champion": 0.9}, abs=0.01)
    policies = {(one.group, one.policy) for one in assigned.values()}
    assert policies == {("control", "random@1"), ("champion", "calibrated@1")}


def test_shares_are_those_that_were_asked_for_and_disjoint() -> None:
    controls = (ControlGroup("propensity", 0.05), ControlGroup("no_levers", 0.15))
    deployment = Deployment("home", "best@3", Canary("new@1", 0.2, 0), controls=controls)
    assigned = groups(deployment)
    expected = {"control": 0.1, "propensity": 0.05, "no_levers": 0.15, "canary": 0.2, "champion": 0.5}
    assert shares(assigned) == pytest.approx(expected, abs=0.01)
    policy_of = {one.group: one.policy for one in assigned.values()}
    assert policy_of == {
        "control": "random@1",
        "propensity": "propensity@1",
        "no_levers": "best@3",
        "canary": "new@1",
        "champion": "best@3",
    }
    assert {one.group for one in assigned.values() if one.control} == {"control", "propensity", "no_levers"}


def test_a_canary_that_grows_keeps_its_customers_and_takes_none_of_the_controls() -> None:
    small, large = (groups(Deployment("home", "best@3", Canary("new@1", share, 0))) for share in (0.05, 0.9))
    before = {customer for customer, one in small.items() if one.group == "canary"}
    after = {customer for customer, one in large.items() if one.group == "canary"}
    assert before < after
    controls = {customer for customer, one in small.items() if one.group == "control"}
    assert controls == {customer for customer, one in large.items() if one.group == "control"}


def test_another_salt_gives_another_order() -> None:
    usual, other = groups(None), groups(None, replace(PLACEMENT, experiment_salt="spring"))
    same = sum(usual[customer] == one for customer, one in other.items())
    assert same / len(CUSTOMERS) == pytest.approx(0.9 * 0.9 + 0.1 * 0.1, abs=0.01)


def test_an_apprentice_answers_the_callers_choice_outside_of_the_control_groups() -> None:
    assigned = groups(Deployment("home", "best@3", apprentice=True))
    assert shares(assigned) == pytest.approx({"control": 0.1, "caller": 0.9}, abs=0.01)
    assert not any(one.control for one in assigned.values() if one.group == "caller")


@pytest.mark.parametrize(
    ("group", "spec", "changed"),
    [
        ("champion", SPEC, {}),
        ("no_levers", SPEC, {"L": [1.0, 1.0]}),
        ("champion", replace(SPEC, learn_from="value", value_scale=50.0), {"V": [50.0, 50.0]}),
    ],
)
def test_weights_are_adjusted_for_the_group_and_the_policy(
    group: str, spec: PolicySpec, changed: dict[str, Any]
) -> None:
    context = selection_context_of(inputs_of(catalogue_with([offer(1, lever=50.0), offer(2)])))
    adjusted = adjust_weights_for_group(context, group, spec)
    expected = {"C": [1.0, 1.0], "V": [1.0, 2.0], "L": [1.5, 1.0]} | changed
    for name, weights in expected.items():
        assert np.array_equal(getattr(adjusted.weights, name), weights)
    assert (adjusted is context) == (not changed)


def test_a_value_that_is_switched_off_stays_off_for_policies_that_learn_from_value() -> None:
    context = selection_context_of(inputs_of(catalogue_with([offer(1), offer(2)], {"off": ("V",)})))
    spec = replace(SPEC, learn_from="value", value_scale=50.0)
    assert np.array_equal(adjust_weights_for_group(context, "champion", spec).weights.V, [1.0, 1.0])


def held_out(holdout: Holdout) -> set[str]:
    """The customers who are in a hold-out."""
    return {customer for customer in CUSTOMERS if assign_holdouts(customer, [holdout], 0)}


@given(st.text(min_size=1), st.floats(0.001, 0.5), st.floats(0.001, 0.5), st.integers(0, 2**40))
def test_a_holdout_that_grows_keeps_its_customers(
    customer: str, share: float, other: float, now_ms: int
) -> None:
    small, large = (Holdout("all", one) for one in sorted((share, other)))
    found = assign_holdouts(customer, [small], now_ms)
    assert found == assign_holdouts(customer, [small], 0)
    assert set(found) <= set(assign_holdouts(customer, [large], now_ms))


def test_a_holdout_has_its_share_independent_of_other_holdouts_and_of_experiment_groups() -> None:
    small, large = (held_out(Holdout("all", share)) for share in (0.05, 0.1))
    assert small < large
    assert len(large) / len(CUSTOMERS) == pytest.approx(0.1, abs=0.01)
    other = held_out(Holdout("growth", 0.5, goal="grow"))
    assert len(large & other) / len(large) == pytest.approx(0.5, abs=0.04)
    # Also of those of a placement with the same name.
    controls = groups(None, Placement("all", "web", control_share=0.5))
    in_control = [customer for customer in large if controls[customer].group == "control"]
    assert len(in_control) / len(large) == pytest.approx(0.5, abs=0.04)


def test_nobody_is_held_out_before_a_holdout_begins_or_after_it_ended() -> None:
    holdout = Holdout("all", 0.5, starts_ms=10, ends_ms=20)
    customer = held_out(replace(holdout, starts_ms=0)).pop()
    assert [assign_holdouts(customer, [holdout], at) for at in (9, 10, 19, 20)] == [
        (),
        ("all",),
        ("all",),
        (),
    ]
