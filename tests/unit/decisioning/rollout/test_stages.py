"""The stages of policies in a placement: what may follow on what."""

from itertools import pairwise
from typing import get_args

import pytest

from decisioning.decide.policy_runner import assign
from decisioning.errors import Conflict, Invalid
from decisioning.model.deployment import Canary, ControlGroup, Deployment, Stage, champion_of
from decisioning.model.entities import Placement
from decisioning.rollout.stages import NEXT, stage_of, step_back, with_controls, with_stage
from tests.support.shop import view_of

PLACEMENT = Placement("home", "web", policy="thompson", control_share=0.1)
EMPTY = Deployment("home")
FIRST, NEW, OTHER = "thompson@1", "spring@1", "autumn@2"
STAGES: tuple[Stage, ...] = get_args(Stage)


def at(stage: Stage) -> Deployment:
    """A deployment in which `NEW` has a stage."""
    return {
        "registered": EMPTY,
        "shadow": Deployment("home", shadows=(NEW,)),
        "canary": Deployment("home", canary=Canary(NEW, 0.2, 5)),
        "champion": Deployment("home", champion=NEW, before=(FIRST,), was=(FIRST,)),
        "retired": Deployment("home", champion=OTHER, was=(NEW,)),
    }[stage]


def move(
    deployment: Deployment,
    stage: Stage,
    key: str = NEW,
    *,
    share: float | None = None,
    now_ms: int = 7,
    force: bool = False,
) -> Deployment:
    return with_stage(PLACEMENT, deployment, key, stage, share=share, now_ms=now_ms, force=force)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_recognised(stage: Stage) -> None:
    assert stage_of(PLACEMENT, at(stage), NEW) == stage


@pytest.mark.parametrize("now", STAGES)
@pytest.mark.parametrize("then", [stage for stage in STAGES if stage != "registered"])
def test_only_the_next_stages_are_possible(now: Stage, then: Stage) -> None:
    deployment = at(now)
    if now == then != "canary":
        assert move(deployment, then) is deployment
    elif then in NEXT[now]:
        assert stage_of(PLACEMENT, move(deployment, then), NEW) == then
    else:
        with pytest.raises(Conflict) as error:
            move(deployment, then)
        possible = NEXT[now] or ("promote another one", "roll back")
        assert all(word in str(error.value) for word in possible)


@pytest.mark.parametrize("now", ["shadow", "canary", "retired"])
def test_retiring_once_more_is_no_change(now: Stage) -> None:
    retired = move(at(now), "retired")
    assert move(retired, "retired") is retired
    back = move(retired, "shadow")
    assert stage_of(PLACEMENT, back, NEW) == "shadow"
    assert move(back, "retired").was == (NEW,)


def test_the_whole_life() -> None:
    life = [EMPTY]
    for stage in ("shadow", "canary", "champion"):
        life.append(move(life[-1], stage, now_ms=len(life)))
    last = life[-1]
    assert champion_of(PLACEMENT, last) == NEW
    assert (last.canary, last.shadows, last.was, last.before) == (None, (), (FIRST,), (FIRST,))
    assert last.since == {NEW: 3}
    for before, after in pairwise(life):
        assert before != after


@pytest.mark.parametrize("stage", ["canary", "champion"])
def test_force_skips_stages(stage: Stage) -> None:
    assert stage_of(PLACEMENT, move(EMPTY, stage, force=True), NEW) == stage
    with pytest.raises(Conflict, match="promote another"):
        move(at("champion"), "shadow", force=True)


def test_a_growing_canary_is_the_same_canary() -> None:
    small = move(at("shadow"), "canary", share=0.1, now_ms=100)
    large = move(small, "canary", share=0.4, now_ms=200)
    assert large.canary == Canary(NEW, 0.4, 100)
    assert large.since[NEW] == 100
    assert move(large, "canary").canary == large.canary
    customers = [f"customer-{number}" for number in range(2000)]
    before, after = (
        {c for c in customers if assign(c, view_of(PLACEMENT, deployment), deployment).group == "canary"}
        for deployment in (small, large)
    )
    assert before < after
    assert 0.07 < len(before) / len(customers) < 0.13


def test_there_is_one_canary() -> None:
    with pytest.raises(Conflict, match=f"{NEW} is the canary"):
        move(Deployment("home", canary=Canary(NEW, 0.1, 0), shadows=(OTHER,)), "canary", OTHER)


def test_shares_must_be_free() -> None:
    controls = with_controls(
        PLACEMENT, at("shadow"), [ControlGroup("random", 0.3), ControlGroup("no_levers", 0.2)]
    )
    assert move(controls, "canary", share=0.4).canary == Canary(NEW, 0.4, 7)
    with pytest.raises(Invalid, match="more than 1") as error:
        move(controls, "canary", share=0.41)
    assert error.value.field == "share"
    with pytest.raises(Invalid, match="more than 1") as error:
        with_controls(PLACEMENT, at("canary"), [ControlGroup("random", 0.71)])
    assert error.value.field == "controls"
    with pytest.raises(Invalid, match="twice"):
        with_controls(PLACEMENT, EMPTY, [ControlGroup("random", 0.1), ControlGroup("random", 0.1)])
    with pytest.raises(Invalid, match="only a canary"):
        move(EMPTY, "shadow", share=0.1)


def test_rolling_back_ends_the_canary_first_and_then_goes_back_champion_by_champion() -> None:
    deployment = EMPTY
    for key in (NEW, OTHER):
        deployment = move(deployment, "champion", key, force=True)
    deployment = move(deployment, "canary", "winter@1", force=True)

    def back(from_: Deployment, usable: bool = True) -> Deployment:
        return step_back(PLACEMENT, from_, 9, lambda key: usable)

    deployment = back(deployment)
    assert (deployment.canary, deployment.champion) == (None, OTHER)
    assert deployment.was[0] == "winter@1"
    deployment = back(deployment)
    assert deployment.champion == NEW
    assert deployment.since[NEW] == 9
    deployment = back(deployment)
    assert deployment.champion == FIRST
    assert set(deployment.was) == {NEW, OTHER, "winter@1"}
    with pytest.raises(Conflict, match="nothing to go back to"):
        back(deployment)


def test_a_champion_that_cannot_be_used_any_more_is_passed_over() -> None:
    deployment = Deployment("home", champion="c@1", before=("b@1", "a@1"))
    assert step_back(PLACEMENT, deployment, 0, lambda key: key == "a@1").champion == "a@1"
    with pytest.raises(Conflict, match="nothing"):
        step_back(PLACEMENT, deployment, 0, lambda key: False)
