"""The laws of choosing can fail: each of these policies breaks one on purpose, and the law finds it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits.algorithms.static_policy import RandomPolicy
from bandits.algorithms.thompson import PreparedArms, ThompsonPolicy
from bandits.conformance.checks import checks_for
from bandits.errors import ConformanceError
from bandits.features import Feature
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray, Sums
from tests.support.bandits_broken import BROKEN
from tests.support.bandits_pooled import PooledArms, PooledPolicy

AGE = Feature("age", "numeric", "customer.age", low=0.0, high=100.0)


class Counting(ThompsonPolicy):
    """Answers differently every time."""

    asked = 0

    def propensities(self, prepared: PreparedArms, candidates: Candidates) -> FloatArray:
        Counting.asked += 1
        return super().propensities(prepared, candidates) / Counting.asked


class Leaking(ThompsonPolicy):
    """Gives away less than there is."""

    def selector(self, prepared: PreparedArms, candidates: Candidates) -> Distribution:
        exact = super().selector(prepared, candidates)
        return lambda available: exact(available) * 0.999


class Spilling(RandomPolicy):
    """Gives chances to what is not available."""

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        return lambda available: np.full(len(available), 1.0 / len(available))


class Greedy(RandomPolicy):
    """Promises to explore, and does not."""

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        best = candidates.base_propensity * candidates.weight
        return lambda available: 1.0 * (np.arange(len(best)) == np.argmax(np.where(available, best, -1.0)))


class Renormalising(ThompsonPolicy):
    """Lets what is masked take part in the contest, and shares out its wins afterwards."""

    def selector(self, prepared: PreparedArms, candidates: Candidates) -> Distribution:
        everything = super().selector(prepared, candidates)(np.ones(len(candidates), dtype=bool))

        def distribution(available: BoolArray) -> FloatArray:
            left: FloatArray = np.where(available, everything, 0.0)
            left /= left.sum()
            return left

        return distribution


class FirstComeFirstServed(RandomPolicy):
    """Prefers what is listed first."""

    epsilon = 0.0

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        def distribution(available: BoolArray) -> FloatArray:
            left: FloatArray = np.where(available, 1.0 / np.cumsum(np.maximum(available, 1e-9)), 0.0)
            left /= left.sum()
            return left

        return distribution


class SeededByRow(ThompsonPolicy):
    """Draws depend on where an offer stands in the list."""

    def prepare(self, sums: Sums) -> PreparedArms:
        return super().prepare(replace(sums, offers=np.arange(len(sums.offers), dtype=np.uint32)))


class Overconfident(RandomPolicy):
    """Takes odds for propensities."""

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        return super().propensities(prepared, candidates) * 1.5


class Tidying(RandomPolicy):
    """Replaces missing propensities where they are."""

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        candidates.base_propensity[np.isnan(candidates.base_propensity)] = 0.0
        return super().propensities(prepared, candidates)


class Wearing(ThompsonPolicy):
    """Uses up what was prepared."""

    def selector(self, prepared: PreparedArms, candidates: Candidates) -> Distribution:
        prepared.draws[:] = np.roll(prepared.draws, 1)
        return super().selector(prepared, candidates)


class Masking(RandomPolicy):
    """Takes the mask that it is given for its own."""

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        def distribution(available: BoolArray) -> FloatArray:
            probabilities = available / np.count_nonzero(available)
            available[:] = False
            return probabilities

        return distribution


class Sharing(RandomPolicy):
    """Hands out its own array."""

    def selector(self, prepared: None, candidates: Candidates) -> Distribution:
        kept: dict[bytes, FloatArray] = {}
        exact = super().selector(prepared, candidates)
        return lambda available: kept.setdefault(available.tobytes(), exact(available))


class Stale(ThompsonPolicy):
    """Forgets to refresh."""

    def refresh(self, prepared: PreparedArms, sums: Sums, rows: NDArray[np.intp]) -> PreparedArms:
        return prepared


class Rereading(ThompsonPolicy):
    """Refreshes from rows that it was not given."""

    def refresh(self, prepared: PreparedArms, sums: Sums, rows: NDArray[np.intp]) -> PreparedArms:
        return self.prepare(replace(sums, own=np.nan_to_num(sums.own)))


class Unshared(PooledPolicy):
    """Refreshes the arms that changed, and forgets what all offers share."""

    def refresh(self, prepared: PooledArms, sums: Sums, rows: NDArray[np.intp]) -> PooledArms:
        prepared.own[rows] = sums.own[rows]
        return prepared


class Recounting(PooledPolicy):
    """Takes the sum over the candidates for the sum over all offers."""

    def prepare(self, sums: Sums) -> PooledArms:
        return PooledArms(sums.own.copy(), sums.own.sum(axis=0))


class Pooling(ThompsonPolicy):
    """Shifts everybody by the mean of all arms."""

    def prepare(self, sums: Sums) -> PreparedArms:
        prepared = super().prepare(sums)
        return PreparedArms(prepared.draws, prepared.ratio / prepared.ratio.mean())


class Unimpressed(ThompsonPolicy):
    """Learns, and does not care."""

    def propensities(self, prepared: PreparedArms, candidates: Candidates) -> FloatArray:
        odds = self.odds(candidates)
        return odds / (1.0 + odds)


class Averaging(RandomPolicy):
    """Compares offers with the first of them, which there may not be."""

    def prepare(self, sums: Sums) -> Any:
        return sums.own - sums.own[0]


class Sociable(ThompsonPolicy):
    """Cannot choose where there is no choice."""

    def selector(self, prepared: PreparedArms, candidates: Candidates) -> Distribution:
        if len(candidates) == 1:
            raise IndexError("two are needed")
        return super().selector(prepared, candidates)


@pytest.mark.parametrize(
    ("algorithm", "law"),
    [
        (Counting, "choosing_is_pure"),
        (Leaking, "distributions_are_exact"),
        (Spilling, "distributions_are_exact"),
        (Greedy, "distributions_are_exact"),
        (Renormalising, "masking_equals_leaving_out"),
        (FirstComeFirstServed, "order_is_immaterial"),
        (SeededByRow, "masking_equals_leaving_out"),
        (SeededByRow, "order_is_immaterial"),
        (Overconfident, "propensities_are_chances"),
        (Tidying, "choosing_is_pure"),
        (Wearing, "choosing_is_pure"),
        (Masking, "choosing_is_pure"),
        (Sharing, "choosing_is_pure"),
        (Stale, "refreshing_equals_preparing"),
        (Rereading, "refreshing_equals_preparing"),
        (Unshared, "refreshing_equals_preparing"),
        (Averaging, "placements_may_be_empty"),
        (Recounting, "masking_equals_leaving_out"),
        (Recounting, "learning_stays_with_its_offer"),
        (Pooling, "masking_equals_leaving_out"),
        (Pooling, "learning_stays_with_its_offer"),
        (Unimpressed, "learning_stays_with_its_offer"),
        (Sociable, "distributions_are_exact"),
    ],
)
def test_a_broken_policy_is_caught_by_the_law_that_it_breaks(algorithm: Any, law: str) -> None:
    policy = algorithm(BROKEN)
    laws = {each.__name__: each for each in checks_for(policy)}
    with pytest.raises(ConformanceError, match=f"broken@1 breaks '{law}'"):
        laws[law](policy)
