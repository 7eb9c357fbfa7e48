"""Silence is learned when an offer is shown, and exchanged, exactly, when something comes of it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from bandits.policy import FloatArray, PolicySpec
from bandits.registry import build_policy
from decisioning.learning.fold import fold_outcomes
from decisioning.model.outcome import Outcome
from storage.clock import DAY_MS, HOUR_MS
from tests.support.logged import ACCEPTED, DECIDED_MS

ALGORITHMS = ("thompson", "calibrated", "logistic_thompson", "linear_thompson", "lin_ucb", "squarecb")


def shown(outcome: Outcome, kind: str = "shown") -> Outcome:
    """What the log says of the same offer when it is shown."""
    return structs.replace(
        outcome,
        outcome=kind,
        reward=None,
        value=None,
        at_ms=outcome.decided_at_ms,
        silence_ms=outcome.decided_at_ms,
    )


def ended(outcome: Outcome, kind: str, reward: float | None, **fields: Any) -> Outcome:
    """What the log says when something came of it, or nothing in time."""
    return structs.replace(outcome, outcome=kind, reward=reward, silence_ms=outcome.decided_at_ms, **fields)


def folded(outcomes: Sequence[Outcome], spec: PolicySpec) -> Mapping[str, FloatArray]:
    """The sums of outcomes, without those that are zero."""
    sums = fold_outcomes(outcomes, spec, build_policy(spec))[0]
    return {name: total for name, total in sums.items() if total.any()}


def assert_same(one: Mapping[str, FloatArray], two: Mapping[str, FloatArray]) -> None:
    """Bit for bit."""
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), kinds=st.lists(st.sampled_from("arxwn"), min_size=1, max_size=12))
def test_in_the_end_sums_are_those_of_what_came_of_each_offer(
    algorithm: str, seed: int, kinds: list[str]
) -> None:
    """Accepted, rejected, expired, withdrawn, or not closed yet; in any order of the log, however late."""
    spec = PolicySpec("p", 1, algorithm, {"half_life_days": 2.0})
    rng = random.Random(seed)
    log, truth = [], []
    for n, kind in enumerate(kinds):
        at_ms = DECIDED_MS + rng.randrange(20) * DAY_MS
        one = structs.replace(
            ACCEPTED,
            decision_id=f"d{n}",
            offer=rng.randrange(1, 4),
            decided_at_ms=at_ms,
            at_ms=at_ms + rng.randrange(1, 60 * 24) * HOUR_MS,
            base_propensity=rng.choice((float("nan"), 0.25, 0.5)),
        )
        log.append(shown(one))
        at_once = structs.replace(one, at_ms=at_ms)
        if kind == "a":
            log.append(ended(one, "accepted", 1.0))
            truth.append(at_once)
            continue
        if kind == "w":
            log.append(ended(one, "withdrawn", None))
            continue
        if kind == "r":
            log.append(ended(one, "rejected", 0.0))
        elif kind == "x":
            log.append(ended(one, "expired", 0.0))
        truth.append(structs.replace(at_once, outcome="rejected", reward=0.0))
    rng.shuffle(log)
    assert_same(folded(log, spec), folded(truth, spec))


@pytest.mark.parametrize("fields", [{"placements": ("call",)}, {"learn_since_ms": DECIDED_MS + 1}])
def test_what_a_policy_does_not_learn_from_is_not_exchanged_either(fields: dict[str, Any]) -> None:
    spec = PolicySpec("p", 1, "thompson", **fields)
    assert folded([shown(ACCEPTED)], spec) == folded([ended(ACCEPTED, "accepted", 1.0)], spec) == {}


def test_an_answer_behind_the_policys_own_window_stays_silence() -> None:
    spec = PolicySpec("p", 1, "thompson", reward_window_s=60)
    assert folded([ended(ACCEPTED, "accepted", 1.0)], spec) == {}


def test_an_acceptance_of_unknown_worth_is_no_silence() -> None:
    spec = PolicySpec("p", 1, "thompson", learn_from="value", value_scale=10.0)
    log = [shown(ACCEPTED), ended(ACCEPTED, "accepted", 1.0, worth=float("nan"), value=None)]
    assert folded(log, spec) == {}


def test_where_it_has_to_be_confirmed_silence_begins_with_the_first_confirmation() -> None:
    spec = PolicySpec("p", 1, "thompson", {"half_life_days": 2.0})
    told = structs.replace(
        shown(ACCEPTED, "presented"), at_ms=DECIDED_MS + HOUR_MS, silence_ms=DECIDED_MS + HOUR_MS
    )
    answer = structs.replace(ACCEPTED, silence_ms=DECIDED_MS + HOUR_MS, at_ms=DECIDED_MS + 40 * HOUR_MS)
    assert_same(
        folded([told, answer], spec), folded([structs.replace(ACCEPTED, at_ms=DECIDED_MS + HOUR_MS)], spec)
    )


def test_records_of_earlier_versions_teach_at_the_time_of_the_answer() -> None:
    spec = PolicySpec("p", 1, "thompson", {"half_life_days": 2.0})
    late = structs.replace(ACCEPTED, at_ms=DECIDED_MS + 40 * HOUR_MS)
    weight = build_policy(spec).decay.weight
    earlier, later = (
        next(iter(folded([o], spec).values()))[0] for o in (structs.replace(late, at_ms=DECIDED_MS), late)
    )
    assert later / earlier == pytest.approx(
        weight((DECIDED_MS + 40 * HOUR_MS) / 1000) / weight(DECIDED_MS / 1000), rel=1e-4
    )
