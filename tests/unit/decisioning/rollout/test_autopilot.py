"""The steps of the autopilot: what it does in which situation, what it says, and that people's changes win."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from bandits.features import Feature
from bandits.policy import PolicySpec
from bandits.registry import build_policy
from benchmarks.autopilot import POLICY, end_of_run
from decisioning.errors import Conflict, Invalid
from decisioning.model.deployment import Autopilot, AutopilotTurn, Canary, ControlGroup, Deployment
from decisioning.model.entities import Placement
from decisioning.rollout.autopilot import (
    CANDIDATES,
    DAY_MS,
    CanaryCounts,
    PlacementSituation,
    Step,
    due_candidates,
    next_step,
)
from decisioning.rollout.autopilot_turns import (
    with_autopilot,
    with_canary,
    with_end,
    with_shadow,
    with_winner,
)
from decisioning.rollout.guardrail import GroupCounts
from decisioning.rollout.stages import step_back, with_stage, without_canary

NOW_MS = 1_800_000_000_000
HOME = Placement("home", "web", policy="thompson", control_share=0.1)
ON = Deployment("home", autopilot=Autopilot())
AGE = (Feature("age", "numeric", path="customer.age"),)
KEY = "auto-calibrated@1"
SHADOW = with_shadow(HOME, ON, KEY, NOW_MS)
CANARY = with_canary(HOME, SHADOW, NOW_MS + 1000)
BETTER = CanaryCounts(GroupCounts(2_000, 400), GroupCounts(8_000, 800))
EQUAL = CanaryCounts(GroupCounts(2_000, 200), GroupCounts(8_000, 800))
DUE = tuple(candidate.spec(AGE) for candidate in CANDIDATES)


def situation(deployment: Deployment, days: float = 0.0, **known: Any) -> PlacementSituation:
    """A situation so many days after the beginning of a turn; its policy is warm."""
    return PlacementSituation(HOME, deployment, NOW_MS + round(days * DAY_MS), **{"state": "live"} | known)


def step_in(deployment: Deployment, days: float = 0.0, **known: Any) -> Step:
    """The step that is taken then."""
    step = next_step(situation(deployment, days, **known))
    assert step is not None
    assert step.reason.startswith("autopilot: ")
    return step


def test_switched_off_it_does_nothing() -> None:
    assert next_step(situation(Deployment("home"), due=DUE)) is None


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: str(candidate.name))
def test_candidates_can_be_built(candidate: Any) -> None:
    assert build_policy(candidate.spec(AGE)).name == candidate.name


def test_idle_it_tries_the_next_candidate_as_a_shadow() -> None:
    step = step_in(ON, due=DUE)
    assert (step.action, step.spec) == ("shadow", DUE[0])
    assert "auto-calibrated (calibrated) is tried out against thompson@1, as a shadow first" in step.reason
    assert "half_life_days 1.0" in step_in(ON, due=DUE[1:]).reason
    assert next_step(situation(ON)) is None, "nobody is due"
    assert SHADOW.shadows == (KEY,)
    assert SHADOW.autopilot == Autopilot(turn=AutopilotTurn(KEY, "shadow", NOW_MS, "thompson@1"))


@pytest.mark.parametrize(
    "changes",
    [
        {"canary": Canary("spring@1", 0.1, NOW_MS)},
        {"apprentice": True},
        {"controls": (ControlGroup("random", 0.8),)},
    ],
    ids=str,
)
def test_it_begins_nothing_where_people_are_at_it(changes: Mapping[str, Any]) -> None:
    assert next_step(situation(replace(ON, **changes), due=DUE)) is None


def test_what_decides_already_is_passed_over() -> None:
    champion = replace(ON, champion="own@1")
    same = PolicySpec("own", 1, "calibrated", features=AGE)
    assert step_in(champion, due=DUE, champion_spec=same).spec == DUE[1]
    grown = tuple(c.spec((*AGE, Feature("rooms", "numeric", path="customer.rooms"))) for c in CANDIDATES)
    assert step_in(champion, due=grown, champion_spec=same).spec == grown[0]
    # The default is brought up to date by its keeper, and needs no turn for that.
    home = replace(HOME, policy="calibrated")
    default = PlacementSituation(
        home, ON, NOW_MS, due=grown, champion_spec=PolicySpec("calibrated", 1, "calibrated")
    )
    step = next_step(default)
    assert step is not None
    assert step.spec == grown[1]
    tried_by_hand = replace(ON, shadows=("auto-calibrated@3",))
    assert step_in(tried_by_hand, due=DUE).spec == DUE[1]


def test_a_candidate_has_one_turn_in_a_while() -> None:
    pilot = Autopilot(tried={CANDIDATES[0].name: NOW_MS})
    assert due_candidates(pilot, NOW_MS) == CANDIDATES[1:]
    assert due_candidates(pilot, NOW_MS + 30 * DAY_MS) == CANDIDATES


def test_a_shadow_that_does_not_fail_becomes_a_canary() -> None:
    assert next_step(situation(SHADOW, shadowed=199)) is None
    assert next_step(situation(SHADOW, shadowed=200, state="folding")) is None, "nothing cold decides"
    step = step_in(SHADOW, shadowed=200)
    assert step.action == "canary"
    assert "decides for 20 % of the customers" in step.reason
    assert CANARY.canary == Canary(KEY, 0.2, NOW_MS + 1000)
    assert CANARY.shadows == ()


def test_a_shadow_that_fails_or_never_gets_anywhere_is_ended() -> None:
    step = step_in(SHADOW, shadowed=200, failed=3)
    assert step.action == "end"
    assert "as a shadow it failed in 3 of 200 decisions" in step.reason
    assert "it is folding, with 0 decisions of 200" in step_in(SHADOW, 14, state="folding").reason
    ended = with_end(HOME, SHADOW, NOW_MS + 5)
    assert (ended.shadows, ended.was) == ((), (KEY,))
    assert ended.autopilot == Autopilot(tried={"auto-calibrated": NOW_MS + 5})


def test_a_shadow_waits_while_its_share_is_given_away() -> None:
    taken = replace(SHADOW, controls=(ControlGroup("random", 0.8),))
    assert next_step(situation(taken, shadowed=200)) is None
    assert step_in(taken, 14, shadowed=200).action == "end"


def test_a_canary_that_is_better_becomes_the_champion() -> None:
    assert next_step(situation(CANARY, 0.5, counts=BETTER)) is None, "a day at least"
    step = step_in(CANARY, 1.1, counts=BETTER)
    assert step.action == "promote"
    assert "becomes the champion: it is better than thompson@1: 400 of 2,000 customers (20 %)" in step.reason
    assert "needed 100 (alpha 0.01)" in step.reason
    won = with_winner(HOME, CANARY, NOW_MS + 7)
    assert (won.champion, won.canary, won.before) == (KEY, None, ("thompson@1",))
    assert won.autopilot == Autopilot(tried={"auto-calibrated": NOW_MS + 7})


def test_a_canary_of_which_nothing_is_known_is_ended_in_time() -> None:
    assert next_step(situation(CANARY, 13, counts=EQUAL)) is None
    step = step_in(CANARY, 14.1, counts=EQUAL)
    assert step.action == "end"
    assert "after 14.1 days and 10,000 customers it is not known to be better" in step.reason
    few = replace(CANARY, autopilot=replace(cast(Autopilot, CANARY.autopilot), max_customers=10_000))
    assert step_in(few, 1.1, counts=EQUAL).action == "end"
    ended = with_end(HOME, CANARY, NOW_MS)
    assert (ended.champion, ended.canary, ended.was) == (None, None, (KEY,))


def test_a_rollback_by_the_guardrails_ends_the_turn_and_is_told() -> None:
    taken = without_canary(CANARY)
    rolled_back = replace(EQUAL, cause="worse", reason="it is worse than the champion: 1 of 9")
    step = step_in(taken, 1, counts=rolled_back)
    assert step.action == "end"
    assert "the guardrails took it back: it is worse than the champion: 1 of 9" in step.reason
    ended = with_end(HOME, taken, NOW_MS)
    assert (ended.canary, ended.was, ended.autopilot) == (
        None,
        (KEY,),
        Autopilot(tried={"auto-calibrated": NOW_MS}),
    )


def by_hand(deployment: Deployment, key: str, stage: Any, **more: Any) -> Deployment:
    """What people make of a deployment, a minute later."""
    return with_stage(HOME, deployment, key, stage, now_ms=NOW_MS + 60_000, **more)


def test_what_people_change_ends_the_turn_and_stays_as_they_made_it() -> None:
    counts = replace(BETTER, cause="changed")
    changed = {
        "retired shadow": by_hand(SHADOW, KEY, "retired"),
        "another canary": by_hand(SHADOW, "spring@1", "canary", force=True),
        "early canary": by_hand(SHADOW, KEY, "canary"),
        "another champion": by_hand(CANARY, "spring@1", "champion", force=True),
        "champion": by_hand(CANARY, KEY, "champion"),
        "share": by_hand(CANARY, KEY, "canary", share=0.4),
        "shadow again": by_hand(CANARY, KEY, "shadow"),
        "rolled back": step_back(HOME, CANARY, NOW_MS + 60_000, lambda key: True),
        "apprentice": replace(CANARY, apprentice=True),
    }
    for what, there in changed.items():
        step = step_in(there, 2, counts=counts, shadowed=500)
        assert step.action == "end", what
        assert "by hand" in step.reason or what == "apprentice"
        after = with_end(HOME, there, NOW_MS + 90_000)
        assert after.champion == there.champion, what
        assert after.autopilot == Autopilot(tried={"auto-calibrated": NOW_MS + 90_000})
        kept = what in ("another canary", "early canary", "share")
        assert after.canary == (there.canary if kept else None), what
        assert after.shadows == ((KEY,) if what == "shadow again" else ()), what


def test_the_default_that_is_brought_up_to_date_disturbs_nobody() -> None:
    home = replace(HOME, policy="calibrated")
    shadow = with_shadow(home, ON, "auto-squarecb@1", NOW_MS)
    newer = with_stage(home, shadow, "calibrated@2", "champion", now_ms=NOW_MS + 5, force=True)
    step = next_step(PlacementSituation(home, newer, NOW_MS + 10, state="live", shadowed=200))
    assert step is not None
    assert step.action == "canary"
    canary = with_canary(home, newer, NOW_MS + 10)
    assert canary.autopilot is not None
    assert canary.autopilot.turn == AutopilotTurn(
        "auto-squarecb@1", "canary", NOW_MS + 10, "calibrated@2", 0.2
    )


def test_switched_off_in_the_middle_its_own_goes_and_the_rest_stays() -> None:
    for there in (SHADOW, CANARY):
        off = with_autopilot(HOME, replace(there, champion="own@1"), None)
        assert (off.autopilot, off.canary, off.shadows) == (None, None, ())
        assert (off.champion, off.was) == ("own@1", (KEY,))
    taken_over = by_hand(CANARY, KEY, "canary", share=0.4)
    assert with_autopilot(HOME, taken_over, None).canary == taken_over.canary
    assert with_autopilot(HOME, Deployment("home"), None) == Deployment("home")
    for change in (with_canary, with_winner, with_end):
        with pytest.raises(Conflict, match="is off"):
            change(HOME, Deployment("home"), NOW_MS)
        with pytest.raises(Conflict, match="tries nothing out"):
            change(HOME, ON, NOW_MS)


def test_switched_on_again_it_goes_on_with_other_settings() -> None:
    assert with_autopilot(HOME, Deployment("home"), Autopilot()) == ON
    changed = with_autopilot(HOME, CANARY, Autopilot(max_days=3))
    assert changed == replace(CANARY, autopilot=replace(cast(Autopilot, CANARY.autopilot), max_days=3))


def test_settings_that_cannot_be() -> None:
    with pytest.raises(Invalid, match="more than 1 together") as caught:
        with_autopilot(HOME, Deployment("home"), Autopilot(canary_share=0.95))
    assert caught.value.field == "canary_share"
    with pytest.raises(Invalid, match="less than max_days"):
        with_autopilot(HOME, Deployment("home"), Autopilot(min_days=3, max_days=3))


def test_who_has_a_part_is_not_begun_with() -> None:
    with pytest.raises(Conflict, match="is shadow in 'home' already"):
        with_shadow(HOME, replace(ON, shadows=(KEY,)), KEY, NOW_MS)


@pytest.mark.parametrize(
    ("champion", "canary", "ends"),
    [(0.1, 0.2, "promote"), (0.2, 0.1, "taken back"), (0.1, 0.1, "end")],
)
def test_whole_turns_end_as_they_should(champion: float, canary: float, ends: str) -> None:
    pilot = Autopilot(max_customers=10_000, turn=AutopilotTurn(POLICY, "canary", 0, "thompson@1", 0.2))
    for seed in range(3):
        assert end_of_run(champion, canary, pilot, np.random.default_rng(seed))[0] == ends
