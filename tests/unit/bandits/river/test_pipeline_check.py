"""A pipeline that cannot be relied upon is refused before it is used, with the reason."""

from typing import Any

import pytest

from bandits.errors import PolicyParameterError
from bandits.policy import Candidates, FloatArray, Observation, PolicySpec
from bandits.river.pipeline_check import check_pipeline
from bandits.river.pipeline_policy import PreparedModel, RiverPolicy

SPEC = PolicySpec("r", 1, "river", {"factory": "bandits.river_factories:logistic"})


class Failing(RiverPolicy):
    """Raises an error when it is taught."""

    def observe(self, model: Any, observation: Observation, at_s: float) -> None:
        raise ZeroDivisionError("no")


class Unsteady(RiverPolicy):
    """Learns from two of three outcomes, whoever is taught."""

    taught = 0

    def observe(self, model: Any, observation: Observation, at_s: float) -> None:
        Unsteady.taught += 1
        if Unsteady.taught % 3:
            super().observe(model, observation, at_s)


class Forgetting(RiverPolicy):
    """Begins anew from every stored model."""

    def unpack(self, blob: bytes) -> Any:
        return self.fresh()


class Curious(RiverPolicy):
    """Is taught by being asked."""

    def propensities(self, prepared: PreparedModel, candidates: Candidates) -> FloatArray:
        self.observe(prepared.model, Observation(1, 1.0, 0.5, candidates.x, facts=candidates.facts), 0.0)
        return super().propensities(prepared, candidates)


@pytest.mark.parametrize(
    ("algorithm", "told"),
    [
        (Failing, "gives a pipeline that fails: ZeroDivisionError"),
        (Unsteady, "learns differently every time"),
        (Forgetting, "learns differently every time"),
        (Curious, "choosing teaches it"),
    ],
)
def test_what_cannot_be_relied_upon_is_refused(
    monkeypatch: pytest.MonkeyPatch, algorithm: type[RiverPolicy], told: str
) -> None:
    monkeypatch.setattr("bandits.river.pipeline_policy.check_pipeline", lambda policy, factory: None)
    with pytest.raises(PolicyParameterError, match=told) as refused:
        check_pipeline(algorithm(SPEC), "mine")
    assert "factory 'mine'" in str(refused.value)
    assert refused.value.field == "parameters.factory"


def test_a_good_one_passes() -> None:
    check_pipeline(RiverPolicy(SPEC), "logistic")
