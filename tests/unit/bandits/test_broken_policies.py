"""The conformance checks can fail: each of these policies breaks a law on purpose, and the law finds it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bandits.algorithms.linear_thompson import LinearThompsonPolicy
from bandits.algorithms.random import RandomPolicy
from bandits.algorithms.thompson import PreparedArms, ThompsonPolicy
from bandits.conformance.checks import check, checks_for
from bandits.errors import BanditsError, ConformanceError
from bandits.features import Encoder, Feature
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray, Observation, PolicySpec, Sums
from tests.support.bandits_broken import BROKEN, Boundless
from tests.support.bandits_pooled import PooledArms, PooledPolicy

AGE = Feature("age", "numeric", "customer.age", low=0.0, high=100.0)


class Counting(ThompsonPolicy):
    """Answers differently every time."""

    asked = 0

    def propensities(self, prepared: PreparedArms, candidates: Candidates) -> FloatArray:
        Counting.asked += 1
        return super().propensities(prepared, candidates) / Counting.asked


class Hoarding(ThompsonPolicy):
    """Keeps what it has seen in itself, where no other process finds it."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.seen: list[Observation] = []

    def learn(self, observation: Observation) -> FloatArray:
        self.seen.append(observation)
        return super().learn(observation)


class Averaging(Hoarding):
    """Learns a running average: what an outcome adds depends on those before it."""

    def learn(self, observation: Observation) -> FloatArray:
        return super().learn(observation) / len(self.seen)


class Overflowing(ThompsonPolicy):
    """Adds numbers so large that their sums are no longer exact."""

    def learn(self, observation: Observation) -> FloatArray:
        return super().learn(observation) * 1e11


class Narrow(ThompsonPolicy):
    """Learns fewer numbers than its width."""

    def learn(self, observation: Observation) -> FloatArray:
        return super().learn(observation)[:2]


class Trusting(ThompsonPolicy):
    """Takes the missing propensity for a number."""

    def learn(self, observation: Observation) -> FloatArray:
        return np.array([1.0, observation.reward, observation.base_propensity])


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


class Nosy(ThompsonPolicy):
    """Learns more from those of whom more is known."""

    def learn(self, observation: Observation) -> FloatArray:
        return super().learn(observation) * (1.0 + len(observation.facts))


class Curious(RandomPolicy):
    """Asks facts that no feature names."""

    def propensities(self, prepared: None, candidates: Candidates) -> FloatArray:
        return super().propensities(prepared, candidates) / max(1, len(candidates.facts))


class Forgetful(Encoder):
    """Encodes each request in its own way."""

    def encode(self, facts: Mapping[str, Any], at_ms: int) -> FloatArray:
        self.asked = getattr(self, "asked", 0) + 1
        return super().encode(facts, at_ms) / self.asked


class Unbounded(Encoder):
    """Leaves numbers as they are."""

    def encode(self, facts: Mapping[str, Any], at_ms: int) -> FloatArray:
        return super().encode(facts, at_ms) * 8


class Hashing(Encoder):
    """Lets other facts count."""

    def encode(self, facts: Mapping[str, Any], at_ms: int) -> FloatArray:
        return super().encode(facts, at_ms) / max(1, len(facts))


class Encoding(LinearThompsonPolicy):
    """Has another encoder."""

    kind: type[Encoder]

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(replace(spec, features=(AGE,)))
        self.encoder = self.kind(self.encoder.features)


class EncodingForgetfully(Encoding):
    kind = Forgetful


class EncodingUnbounded(Encoding):
    kind = Unbounded


class EncodingOthers(Encoding):
    kind = Hashing


class Untyped(RandomPolicy):
    """Says of itself what is not of its type."""

    shared = None  # type: ignore[assignment]  # this is what is wrong with it


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


class Lenient(RandomPolicy):
    """Takes any parameter."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(replace(spec, parameters={}))


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
        (Hoarding, "states_stay_small"),
        (Averaging, "folds_commute"),
        (Averaging, "learns_finite_numbers"),
        (Overflowing, "folds_commute"),
        (Narrow, "learns_finite_numbers"),
        (Narrow, "states_survive_storage"),
        (Trusting, "learns_finite_numbers"),
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
        (Nosy, "facts_count_if_declared"),
        (Curious, "facts_count_if_declared"),
        (EncodingForgetfully, "features_are_pure"),
        (EncodingUnbounded, "features_are_pure"),
        (EncodingOthers, "features_are_pure"),
        (Untyped, "is_described"),
        (Unshared, "refreshing_equals_preparing"),
        (Recounting, "masking_equals_leaving_out"),
        (Recounting, "learning_stays_with_its_offer"),
        (Pooling, "masking_equals_leaving_out"),
        (Pooling, "learning_stays_with_its_offer"),
        (Unimpressed, "learning_stays_with_its_offer"),
        (Lenient, "refuses_unknown_parameters"),
        (Boundless, "is_described"),
        (Sociable, "distributions_are_exact"),
    ],
)
def test_a_broken_policy_is_caught_by_the_law_that_it_breaks(algorithm: Any, law: str) -> None:
    policy = algorithm(BROKEN)
    laws = {each.__name__: each for each in checks_for(policy)}
    with pytest.raises(ConformanceError, match=f"broken@1 breaks '{law}'"):
        laws[law](policy)


def test_check_stops_at_the_first_law_that_is_broken() -> None:
    with pytest.raises(ConformanceError, match="broken@1 breaks 'learns_finite_numbers'"):
        check(Averaging(BROKEN))


def test_the_error_is_the_packages_own_and_an_assertion() -> None:
    assert issubclass(ConformanceError, BanditsError)
    assert issubclass(ConformanceError, AssertionError)
