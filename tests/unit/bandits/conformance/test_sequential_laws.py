"""The laws of policies that are taught in one order can fail: each of these breaks one, and the law finds it."""

from typing import Any

import pytest

from bandits.conformance.checks import checks_for
from bandits.errors import ConformanceError
from bandits.policy import Candidates, FloatArray, Observation, PolicySpec
from bandits.river.pipeline_policy import PreparedModel, RiverPolicy

BROKEN = PolicySpec("broken", 1, "river", {"factory": "bandits.river_factories:logistic"})


class Adding(RiverPolicy):
    """Adds to sums that nobody keeps."""

    width = 1


class Counting(RiverPolicy):
    """Teaches each model less than the one before."""

    taught = 0

    def observe(self, model: Any, observation: Observation, at_s: float) -> None:
        Counting.taught += 1
        if Counting.taught % 3:
            super().observe(model, observation, at_s)


class Keeping(RiverPolicy):
    """Has one model for all who ask for a fresh one."""

    def fresh(self) -> Any:
        if "kept" not in self.__dict__:
            self.kept = super().fresh()
        return self.kept


class Forgetting(RiverPolicy):
    """Begins anew from every stored model."""

    def unpack(self, blob: bytes) -> Any:
        super().unpack(blob)
        return self.fresh()


class Trusting(RiverPolicy):
    """Takes whatever is stored for a model."""

    def unpack(self, blob: bytes) -> Any:
        return self.fresh() if len(blob) < 2 else super().unpack(blob)


class Curious(RiverPolicy):
    """Is taught by being asked."""

    def propensities(self, prepared: PreparedModel, candidates: Candidates) -> FloatArray:
        self.observe(prepared.model, Observation(1, 1.0, 0.5, candidates.x, facts=candidates.facts), 0.0)
        return super().propensities(prepared, candidates)


class Idle(RiverPolicy):
    """Learns nothing."""

    def observe(self, model: Any, observation: Observation, at_s: float) -> None:
        pass


@pytest.mark.parametrize(
    ("algorithm", "law"),
    [
        (Adding, "keeps_no_sums"),
        (Keeping, "fresh_models_are_equal"),
        (Counting, "teaching_is_deterministic"),
        (Forgetting, "stored_models_go_on"),
        (Trusting, "damaged_models_are_refused"),
        (Curious, "choosing_teaches_nothing"),
        (Idle, "learning_has_an_effect"),
    ],
)
def test_a_broken_policy_is_caught_by_the_law_that_it_breaks(
    monkeypatch: pytest.MonkeyPatch, algorithm: type[RiverPolicy], law: str
) -> None:
    monkeypatch.setattr("bandits.river.pipeline_policy.check_pipeline", lambda policy, factory: None)
    policy = algorithm(BROKEN)
    laws = {each.__name__: each for each in checks_for(policy)}
    with pytest.raises(ConformanceError, match=f"broken@1 breaks '{law}'"):
        laws[law](policy)
