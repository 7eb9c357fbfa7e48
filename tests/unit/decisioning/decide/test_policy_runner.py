"""Running policies: the assigned one, or the fallback with the reason."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bandits.policy import Candidates, FloatArray, Policy, PolicySpec
from bandits.registry import build_policy
from decisioning.decide import policy_runner
from decisioning.decide.policy_runner import (
    MAX_SLOW_RUNS,
    SLOW_PAUSE_MS,
    Assignment,
    PolicyResult,
    PolicyRunner,
)
from decisioning.decide.ranking import SelectionContext
from decisioning.learning.replica import ArmReplica
from decisioning.model.decision import PolicyFailure
from decisioning.policies.roster import Roster
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer, selection_context_of

CHAMPION = Assignment("thompson@1", "champion")


class Clock:
    """The clock that the runner measures with, which advances by what the policy takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        loop = SimpleNamespace(time=lambda: self.now_s)
        monkeypatch.setattr(policy_runner, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))


class Instrumented:
    """A policy that takes ``took_ms`` of a clock, or raises."""

    def __init__(self, policy: Policy, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self.took_ms = 0.0
        self.raises = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def propensities(self, prepared: Any, candidates: Candidates) -> FloatArray:
        """As the policy, after a while."""
        self._clock.now_s += self.took_ms / 1000
        if self.raises:
            raise ArithmeticError("broken")
        return self._policy.propensities(prepared, candidates)


class World:
    """A runner with one instrumented policy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, loaded: bool = True) -> None:
        self.roster = Roster()
        self.policy = Instrumented(build_policy(PolicySpec("thompson", 1, "thompson")), Clock(monkeypatch))
        self.roster._policies["thompson@1"] = self.policy
        replica = ArmReplica(self.roster)
        if loaded:
            replica.load("thompson@1", 7, ())
        self.runner = PolicyRunner(replica, self.roster, budget_ms=20.0)
        self.inputs = inputs_of(catalogue_with([offer(1), offer(2)]))

    def context(self, **fields: Any) -> SelectionContext:
        """Return the offers and inputs from which a policy selects."""
        return selection_context_of(self.inputs, **fields)

    def run(self, assignment: Assignment = CHAMPION, took_ms: float = 1.0, **fields: Any) -> PolicyResult:
        """One decision."""
        self.policy.took_ms = took_ms
        return self.runner.run(assignment, self.context(**fields))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A policy with its arms."""
    return World(monkeypatch)


def test_the_assigned_policy_decides_with_its_arms(world: World) -> None:
    result = world.run()
    assert (result.policy.key, result.epoch, result.failed, result.over_budget) == (
        "thompson@1",
        7,
        None,
        None,
    )
    assert len(result.selection.choices) == 1


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        (Assignment("lost@2", "canary"), "policy_unavailable"),
        (Assignment("calibrated@1", "champion"), "arms_unavailable"),
        (Assignment("thompson@1", "caller"), "baseline_missing"),
    ],
)
def test_a_policy_that_cannot_decide_is_replaced_by_the_fallback(
    world: World, assignment: Assignment, reason: str
) -> None:
    result = world.run(assignment)
    assert (result.policy.key, result.failed) == (
        "propensity@1",
        PolicyFailure(assignment.policy, reason),
    )
    assert len(result.selection.choices) == 1


def test_a_policy_that_raises_is_replaced_and_asked_again_next_time(world: World) -> None:
    world.policy.raises = True
    assert world.run().failed == PolicyFailure("thompson@1", "policy_failed")
    world.policy.raises = False
    assert world.run().failed is None


def test_a_slow_policy_still_decides_until_it_was_slow_too_often_in_a_row(world: World) -> None:
    for in_a_row in range(1, MAX_SLOW_RUNS + 1):
        overrun = world.run(took_ms=30.0).over_budget
        assert overrun is not None
        assert (round(overrun.took_ms), overrun.budget_ms, overrun.in_a_row) == (30, 20.0, in_a_row)
    assert world.run().failed == PolicyFailure("thompson@1", "policy_slow")
    later = world.run(now_ms=NOW_MS + SLOW_PAUSE_MS)
    assert (later.failed, later.over_budget) == (None, None)


def test_one_decision_in_time_begins_the_count_of_slow_ones_anew(world: World) -> None:
    for _ in range(3):
        for _ in range(MAX_SLOW_RUNS - 1):
            assert world.run(took_ms=30.0).failed is None
        assert world.run(took_ms=1.0).over_budget is None


def test_the_result_tells_the_weights_that_the_policy_saw(world: World) -> None:
    result = world.run(Assignment("thompson@1", "no_levers"))
    assert np.array_equal(result.context.weights.L, [1.0, 1.0])
