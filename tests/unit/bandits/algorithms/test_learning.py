"""Learning in small simulated worlds: thompson beats random, and follows a best offer that changes.

Margins are many standard deviations wide, and the seeds are fixed: they cannot fail by chance.
"""

from collections.abc import Callable

import numpy as np
import pytest

from bandits.algorithms.beta_arms import DAY_S
from bandits.algorithms.static_policy import RandomPolicy
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.policy import Observation, Policy
from bandits.registry import build_policy
from bandits.sampling import uniform_draw
from bandits.state import ArmTable, arm_contributions
from tests.support.bandits_selection import select, specification, view_of

VIEW = view_of([1, 2, 3, 4, 5])
START_S = 1_750_000_000.0
Rates = Callable[[float], list[float]]  # days since the start -> each offer's chance to be accepted


def simulate(
    policy: Policy, rates: Rates, base_propensities: list[float], *, days: int, a_day: int, seed: int
) -> tuple[list[int], list[float]]:
    """Decide, answer and learn at once, ``a_day`` times a day: the row chosen each time, and the reward."""
    table, chosen, rewards = ArmTable(policy.width), [], []
    available, given = np.ones(5, dtype=bool), np.array(base_propensities, dtype=np.float32)
    for i in range(days * a_day):
        day, name = i / a_day, f"{seed}-{i}"
        now_s = START_S + day * DAY_S
        prepared = policy.prepare(table.read(policy, VIEW.numbers, policy.decay.tick(now_s)))
        (choice,) = select(VIEW, available, given, policy, prepared, 1, name).choices
        row = choice.offer.number - 1
        reward = float(uniform_draw(f"{name}/answer") < rates(day)[row])
        seen = Observation(choice.offer.number, reward, choice.base_propensity)
        fields, delta = arm_contributions(policy, seen, now_s)
        for field in fields:
            table.add(field, delta)
        chosen.append(row)
        rewards.append(reward)
    return chosen, rewards


def thompson(**parameters: float) -> ThompsonPolicy:
    return ThompsonPolicy(specification("thompson", **parameters))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("base_propensity", [np.nan, 0.1])
def test_thompson_beats_random(base_propensity: float, seed: int) -> None:
    """The best offer is accepted 40 times in 100, the others 5: 12 at random."""
    rates = [0.05, 0.05, 0.05, 0.05, 0.4]
    _, learned = simulate(thompson(), lambda _: rates, [base_propensity] * 5, days=8, a_day=100, seed=seed)
    _, at_random = simulate(
        RandomPolicy(specification("random")),
        lambda _: rates,
        [base_propensity] * 5,
        days=8,
        a_day=100,
        seed=seed,
    )
    assert np.mean(at_random) < 0.17  # 4 deviations of 0.0115
    assert np.mean(learned) > 0.26  # half of the way from random to the best
    assert np.mean(learned[400:]) > 0.28


@pytest.mark.parametrize("algorithm", ["ucb", "epsilon_greedy"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_other_simple_ones_beat_random_too(algorithm: str, seed: int) -> None:
    rates = [0.05, 0.05, 0.05, 0.05, 0.4]
    policy = build_policy(specification(algorithm))
    _, learned = simulate(policy, lambda _: rates, [np.nan] * 5, days=20, a_day=100, seed=seed)
    assert np.mean(learned[1000:]) > 0.26


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thompson_overcomes_misleading_propensities(seed: int) -> None:
    """The best offer has the lowest propensity, a twentieth of what it should be: evidence gets the better of it."""
    rates, base_propensities = [0.05, 0.05, 0.05, 0.05, 0.4], [0.3, 0.2, 0.1, 0.05, 0.02]
    chosen, rewards = simulate(thompson(), lambda _: rates, base_propensities, days=20, a_day=100, seed=seed)
    assert np.mean(np.array(chosen[:100]) == 4) < 0.2
    assert np.mean(np.array(chosen[1500:]) == 4) > 0.8
    assert np.mean(rewards[1500:]) > 0.28


def _changing(day: float) -> list[float]:
    return [0.4, 0.05, 0.05, 0.05, 0.05] if day < 30 else [0.05, 0.05, 0.05, 0.05, 0.4]


@pytest.mark.parametrize("seed", [4, 5])
def test_thompson_follows_when_another_offer_becomes_the_best(seed: int) -> None:
    policy = thompson(half_life_days=3.0)
    chosen, _ = simulate(policy, _changing, [np.nan] * 5, days=60, a_day=25, seed=seed)
    share = [
        np.mean(np.array(chosen[day * 25 : (day + 10) * 25]) == best) for day, best in ((20, 0), (50, 4))
    ]
    assert min(share) > 0.6


def test_it_is_forgetting_that_lets_it_follow() -> None:
    """Without decay, thirty good days still speak for the old best offer; so the test above tests decay."""
    seen = {}
    for half_life_days in (3.0, 0.0):
        policy = thompson(half_life_days=half_life_days)
        chosen, _ = simulate(policy, _changing, [np.nan] * 5, days=40, a_day=25, seed=6)
        seen[half_life_days] = np.mean(np.array(chosen[30 * 25 :]) == 0)
    assert seen[0.0] > seen[3.0] + 0.15


def test_an_offer_that_was_given_up_is_still_tried() -> None:
    """The floor keeps every offer in the log, so that its return can be noticed and other policies evaluated."""
    chosen, _ = simulate(
        thompson(epsilon=0.1), lambda _: [0.9, 0.0, 0.0, 0.0, 0.0], [np.nan] * 5, days=10, a_day=100, seed=7
    )
    late = np.bincount(chosen[300:], minlength=5)
    assert (late[1:] > 2).all()  # 14 are expected of each
    assert late[0] > 0.8 * 700
