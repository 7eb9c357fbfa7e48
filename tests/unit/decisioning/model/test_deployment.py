"""A placement's deployment: the policies that have a part, the champion, and shares that fit beside each other."""

import pytest

from decisioning.errors import Invalid
from decisioning.model.deployment import (
    Canary,
    ControlGroup,
    Deployment,
    champion_of,
    check_shares,
)
from decisioning.model.entities import Placement

PLACEMENT = Placement("home", "web", policy="thompson", control_share=0.1)


def shared(canary: float | None, *controls: float) -> Deployment:
    """A deployment that gives these shares away."""
    groups = tuple(ControlGroup("no_levers", share) for share in controls)
    return Deployment("home", canary=None if canary is None else Canary("new@1", canary, 0), controls=groups)


def test_only_policies_that_have_a_part_now_are_named() -> None:
    past = {"was": ("old@1",), "before": ("older@1",)}
    assert Deployment("home", **past).policies == frozenset()  # type: ignore[arg-type]  # fields of it
    full = Deployment("home", "best@3", Canary("new@1", 0.1, 0), ("dark@1", "best@3"), was=("old@1",))
    assert full.policies == {"best@3", "new@1", "dark@1"}


def test_the_placement_names_the_champion_until_the_deployment_does() -> None:
    assert champion_of(PLACEMENT, None) == "thompson@1"
    assert champion_of(PLACEMENT, Deployment("home", canary=Canary("new@1", 0.9, 0))) == "thompson@1"
    assert champion_of(PLACEMENT, Deployment("home", "best@3")) == "best@3"


@pytest.mark.parametrize(
    "deployment",
    [shared(0.9), shared(0.5, 0.4), shared(None, 0.2, 0.7), shared(0.23, 0.04, 0.56, 0.07), shared(None)],
)
def test_everybody_may_be_given_away_in_decimal_fractions(deployment: Deployment) -> None:
    check_shares(PLACEMENT, deployment, "share")


@pytest.mark.parametrize("deployment", [shared(0.901), shared(None, 0.901), shared(0.5, 0.2, 0.201)])
def test_nobody_is_given_away_twice(deployment: Deployment) -> None:
    with pytest.raises(Invalid, match="'home' would be more than 1") as error:
        check_shares(PLACEMENT, deployment, "controls")
    assert error.value.field == "controls"
