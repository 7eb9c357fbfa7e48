"""Outcomes are expected before they are learned, and what came of an offer is what came of it within the horizon."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from bandits.features import Feature
from bandits.policy import FloatArray, Observation, PolicySpec
from bandits.registry import build_policy
from bandits.regression.regression_policy import RegressionPolicy
from decisioning.learning.prequential import (
    BATCH,
    Example,
    PrequentialModel,
    examples_of,
    fold_before,
)
from decisioning.model.outcome import Outcome
from tests.support.logged import ACCEPTED, DECIDED_MS

MINUTE_MS = 60_000
HORIZON_S = 600
SPEC = PolicySpec(
    "calibrated",
    2,
    "calibrated",
    features=(Feature("age", "numeric", "customer.age", low=20.0, high=70.0),),
    reward_window_s=HORIZON_S,
)


def policy_of(spec: PolicySpec) -> RegressionPolicy:
    policy = build_policy(spec)
    assert isinstance(policy, RegressionPolicy)
    return policy


def shown(number: int = 0, **fields: object) -> Outcome:
    at_ms = DECIDED_MS + number * MINUTE_MS
    return structs.replace(
        ACCEPTED,
        decision_id=f"d{number}",
        decided_at_ms=at_ms,
        outcome="shown",
        reward=None,
        at_ms=at_ms,
        silence_ms=at_ms,
        **fields,
    )


def answered(seen: Outcome, outcome: str, reward: float | None, after_s: int = 5) -> Outcome:
    return structs.replace(seen, outcome=outcome, reward=reward, at_ms=seen.decided_at_ms + after_s * 1000)


def rewards_of(outcomes: Sequence[Outcome]) -> list[float]:
    return [seen.observation.reward for seen in examples_of(outcomes, SPEC, policy_of(SPEC))]


def test_silence_and_answers_are_one_example_for_each_offer_in_the_order_of_decisions() -> None:
    silent, taken, refused = shown(2), shown(1), shown(0)
    log = [silent, taken, answered(taken, "accepted", 1.0), refused, answered(refused, "rejected", 0.0)]
    assert rewards_of(log) == [0.0, 1.0, 0.0]
    assert rewards_of([*log, answered(silent, "expired", 0.0, 700)]) == [0.0, 1.0, 0.0]
    made = examples_of(log, SPEC, policy_of(SPEC))
    assert [seen.decided_at_ms for seen in made] == [o.decided_at_ms for o in (refused, taken, silent)]


def test_acceptances_after_the_horizon_count_as_silence_so_that_old_decisions_are_as_recent_ones() -> None:
    early, late = shown(0), shown(1)
    log = [
        early,
        late,
        answered(early, "accepted", 1.0, HORIZON_S),
        answered(late, "accepted", 1.0, HORIZON_S + 1),
    ]
    assert rewards_of(log) == [1.0, 0.0]


def test_what_was_withdrawn_is_no_example() -> None:
    assert rewards_of([shown(0), answered(shown(0), "withdrawn", None)]) == []


def test_outcomes_of_records_without_silence_are_examples_as_they_are() -> None:
    assert rewards_of([structs.replace(ACCEPTED, at_ms=DECIDED_MS + 1000)]) == [1.0]


def stream(count: int, flips_at: int, seed: int = 0) -> list[Example]:
    """Two offers in turn, accepted by 70 % and 10 % of the customers, and the other way round later."""
    rng = np.random.default_rng(seed)
    made = []
    x = np.zeros(policy_of(SPEC).encoder.width)
    for number in range(count):
        offer = number % 2
        chance = (0.7, 0.1)[offer if number < flips_at else 1 - offer]
        seen = Observation(offer + 1, float(rng.random() < chance), float("nan"), x)
        at_ms = DECIDED_MS + number * MINUTE_MS
        made.append(Example(seen, at_ms, at_ms / 1000.0))
    return made


def losses_of(examples: Sequence[Example], since_ms: int = 0, **parameters: object) -> FloatArray:
    spec = replace(SPEC, parameters=parameters, learn_since_ms=since_ms)
    return losses(PrequentialModel(spec, policy_of(spec)), examples)


def losses(model: PrequentialModel, examples: Sequence[Example]) -> FloatArray:
    chances = model.chances(examples)
    rewards = np.array([seen.observation.reward for seen in examples])
    found: FloatArray = -np.log(np.where(rewards == 1.0, chances, 1.0 - chances))
    return found


def test_what_is_expected_is_what_was_before_the_outcome_was_learned() -> None:
    examples = stream(2 * BATCH, 10**9)
    chances = PrequentialModel(SPEC, policy_of(SPEC)).chances(examples)
    np.testing.assert_allclose(chances[:BATCH], policy_of(SPEC).default)
    found = losses_of(examples)
    assert found[BATCH:].mean() < found[:BATCH].mean()


def test_after_a_change_what_forgets_expects_better_and_before_it_what_remembers() -> None:
    examples = stream(3000, 2000)
    remembers, forgets = losses_of(examples), losses_of(examples, half_life_days=0.1)
    anew = losses_of(examples, examples[2000].decided_at_ms)
    assert remembers[1000:2000].mean() < forgets[1000:2000].mean()
    assert forgets[2200:].mean() < remembers[2200:].mean() - 0.1
    assert np.isnan(anew[:2000]).all()
    assert anew[2100:].mean() < forgets[2100:].mean()


def test_what_came_before_the_first_example_is_known() -> None:
    """Folded beforehand as the learner does, or expected one after the other: what comes next is expected alike."""
    silent = [shown(number, offer=1 + number % 2) for number in range(200)]
    log = [
        *silent,
        *(answered(seen, "accepted", 1.0) for seen in silent if seen.offer == 1),
    ]
    policy = policy_of(SPEC)
    model = PrequentialModel(SPEC, policy)
    fold_before([model], log, SPEC, policy, None)
    later = [shown(number, offer=1 + number % 2) for number in range(200, 200 + BATCH)]
    seen = examples_of(
        [*later, *(answered(one, "accepted", 1.0) for one in later if one.offer == 1)], SPEC, policy
    )
    known = losses(model, seen)
    assert known.mean() == pytest.approx(0.0, abs=0.1)
    assert losses(PrequentialModel(SPEC, policy), seen).mean() > 0.5
