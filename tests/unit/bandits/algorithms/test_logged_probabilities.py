"""Logged probabilities are right: over many decisions, offers are selected as often as the log says.

The seeds are decision ids, so every run sees the same draws. A score of 4 would come up by chance once in 30,000
runs; the last tests show what the same statistic says about probabilities that are slightly wrong.
"""

from collections import Counter
from functools import lru_cache
from itertools import permutations

import numpy as np
import pytest

from bandits.conformance.scenarios import learned_arms, make_observations
from bandits.registry import build_policy
from tests.support.bandits_selection import chi_squared_score, counts, select, specification, view_of

DECISIONS = 20_000
NUMBERS = [2, 3, 5, 7, 11, 13, 17]
VIEW = view_of(NUMBERS, [1.0, 2.0, 1.1, 9.0, 1.2, 0.0, 1.05])
PRIORS = np.array([0.3, 0.1, 0.2, 0.5, np.nan, 0.4, 0.25], dtype=np.float32)
AVAILABLE = np.array([True, True, True, False, True, True, True])
HERE = [number for number, there in zip(NUMBERS, AVAILABLE, strict=True) if there]
EXPLORING = ["thompson", "ucb", "epsilon_greedy", "random"]
Slate = tuple[tuple[int, float], ...]


@lru_cache
def slates(algorithm: str, decisions: int = DECISIONS) -> list[Slate]:
    """(offer number, logged probability) by slot, of many decisions in the same situation."""
    policy = build_policy(specification(algorithm))
    seen = make_observations(policy, VIEW.numbers, 150, seed=1)
    tick = policy.decay.tick(seen[0][1])
    prepared = policy.prepare(learned_arms(policy, seen).read(policy, VIEW.numbers, tick))
    made = []
    for i in range(decisions):
        chosen = select(VIEW, AVAILABLE, PRIORS, policy, prepared, 3, f"decision-{i}").choices
        made.append(tuple((choice.offer.number, choice.probability) for choice in chosen))
    return made


def logged(algorithm: str, prefix: tuple[int, ...]) -> dict[int, float]:
    """The probabilities that were logged for the slot after ``prefix``: one number for each offer seen there."""
    found: dict[int, set[float]] = {}
    for slate in slates(algorithm):
        if tuple(number for number, _ in slate[: len(prefix)]) == prefix:
            number, probability = slate[len(prefix)]
            found.setdefault(number, set()).add(probability)
    assert all(len(each) == 1 for each in found.values()), "one situation, several probabilities"
    return {number: each.pop() for number, each in found.items()}


@pytest.mark.parametrize("algorithm", EXPLORING)
def test_first_slot(algorithm: str) -> None:
    probabilities = logged(algorithm, ())
    assert sorted(probabilities) == HERE
    assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-12)
    picked = counts((slate[0][0] for slate in slates(algorithm)), HERE)
    score = chi_squared_score(picked.values(), [DECISIONS * probabilities[number] for number in picked])
    assert abs(score) < 4


@pytest.mark.parametrize("algorithm", EXPLORING)
@pytest.mark.parametrize("slot", [1, 2])
def test_later_slots_given_what_the_earlier_ones_took(algorithm: str, slot: int) -> None:
    prefixes = Counter(tuple(number for number, _ in slate[:slot]) for slate in slates(algorithm))
    tested = 0
    for prefix, times in prefixes.items():
        if times < 400:
            continue
        probabilities = logged(algorithm, prefix)
        left = [number for number in HERE if number not in prefix]
        assert set(probabilities) <= set(left)
        expected = [times * probabilities.get(number, 0.0) for number in left]
        picked = counts((slate[slot][0] for slate in _starting(algorithm, prefix)), left)
        assert sum(expected) == pytest.approx(
            times, rel=0.02
        )  # offers never seen there have no logged probability
        assert abs(chi_squared_score(picked.values(), expected)) < 4, prefix
        tested += times
    assert tested > DECISIONS / 2


@pytest.mark.parametrize("algorithm", EXPLORING)
def test_whole_answers_are_as_likely_as_the_product_over_their_slots(algorithm: str) -> None:
    chance = {
        tuple(number for number, _ in slate): float(np.prod([probability for _, probability in slate]))
        for slate in slates(algorithm)
    }
    seen = Counter(tuple(number for number, _ in slate) for slate in slates(algorithm))
    unseen = len(list(permutations(HERE, 3))) - len(seen)
    rest = 1.0 - sum(chance.values())
    assert 0.0 <= rest + 1e-12 < 0.01
    observed, expected = (
        [float(seen[slate]) for slate in chance],
        [DECISIONS * chance[slate] for slate in chance],
    )
    if unseen:
        observed, expected = [*observed, 0.0], [*expected, DECISIONS * rest]
    assert abs(chi_squared_score(observed, expected)) < 4


@pytest.mark.parametrize("algorithm", EXPLORING)
def test_the_marginal_of_the_second_slot_follows_from_the_first(algorithm: str) -> None:
    first = logged(algorithm, ())
    marginal = dict.fromkeys(HERE, 0.0)
    for number, probability in first.items():
        for other, conditional in logged(algorithm, (number,)).items():
            marginal[other] += probability * conditional
    picked = counts((slate[1][0] for slate in slates(algorithm)), HERE)
    assert abs(chi_squared_score(picked.values(), [DECISIONS * marginal[n] for n in picked])) < 4


def test_random_gives_all_the_same_chance() -> None:
    for slate in slates("random")[:100]:
        assert [probability for _, probability in slate] == [1 / 6, 1 / 5, 1 / 4]


def test_the_greedy_fallback_is_certain() -> None:
    assert set(slates("propensity", 200)) == {((2, 1.0), (17, 1.0), (5, 1.0))}


def test_the_same_decision_is_made_again() -> None:
    assert slates("thompson", 500) == slates("thompson")[:500]


def test_a_probability_that_is_off_by_a_few_percent_would_be_noticed() -> None:
    probabilities = logged("thompson", ())
    picked = counts((slate[0][0] for slate in slates("thompson")), HERE)
    likeliest, second = sorted(probabilities, key=lambda n: -probabilities[n])[:2]
    probabilities[likeliest] -= 0.03
    probabilities[second] += 0.03
    assert chi_squared_score(picked.values(), [DECISIONS * probabilities[n] for n in picked]) > 6


def test_leaving_out_the_floor_would_be_noticed() -> None:
    probabilities = {number: (p - 0.05 / 6) / 0.95 for number, p in logged("thompson", ()).items()}
    picked = counts((slate[0][0] for slate in slates("thompson")), HERE)
    shares = [DECISIONS * max(probabilities[n], 1e-9) for n in picked]
    assert chi_squared_score(picked.values(), shares) > 6


def _starting(algorithm: str, prefix: tuple[int, ...]) -> list[Slate]:
    return [
        slate for slate in slates(algorithm) if tuple(number for number, _ in slate[: len(prefix)]) == prefix
    ]
