"""The laws of learning can fail: each of these policies breaks one on purpose, and the law finds it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bandits.algorithms.regression_thompson import LinearThompsonPolicy
from bandits.algorithms.static_policy import RandomPolicy
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.conformance.checks import check, checks_for
from bandits.errors import BanditsError, ConformanceError
from bandits.features import Encoder, Feature
from bandits.policy import Candidates, FloatArray, Observation, PolicySpec
from tests.support.bandits_broken import BROKEN, Boundless

AGE = Feature("age", "numeric", "customer.age", low=0.0, high=100.0)


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


class Lenient(RandomPolicy):
    """Takes any parameter."""

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(replace(spec, parameters={}))


@pytest.mark.parametrize(
    ("algorithm", "law"),
    [
        (Hoarding, "states_stay_small"),
        (Averaging, "folds_commute"),
        (Averaging, "learns_finite_numbers"),
        (Overflowing, "folds_commute"),
        (Narrow, "learns_finite_numbers"),
        (Narrow, "states_survive_storage"),
        (Trusting, "learns_finite_numbers"),
        (Nosy, "facts_count_if_declared"),
        (Curious, "facts_count_if_declared"),
        (EncodingForgetfully, "features_are_pure"),
        (EncodingUnbounded, "features_are_pure"),
        (EncodingOthers, "features_are_pure"),
        (Untyped, "is_described"),
        (Lenient, "refuses_unknown_parameters"),
        (Boundless, "is_described"),
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
