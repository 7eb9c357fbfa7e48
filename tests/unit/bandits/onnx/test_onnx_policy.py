"""The policy on a model file: the laws of all policies, exploration, and what is said without the library."""

from typing import Any

import numpy as np
import pytest

from bandits.conformance.checks import check
from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.onnx.onnx_policy import OnnxPolicy
from bandits.policy import Candidates, PolicySpec
from bandits.registry import build_policy
from bandits.sequential_policy import is_learner
from tests.support.onnx_models import logistic_file, text_of

FEATURES = (
    Feature("age", "numeric", "customer.age", low=18.0, high=90.0, default=40.0),
    Feature("reason", "category", "context.reason", values=("buy", "leave")),
    Feature("mart", "propensity"),
)
FILE = logistic_file([0.02, 0.5, -0.5, 1.0], -2.0)


def spec(**parameters: Any) -> PolicySpec:
    """A specification of the file."""
    return PolicySpec("mine", 3, "onnx", {"model": text_of(FILE), **parameters}, FEATURES)


def candidates(facts: dict[str, Any]) -> Candidates:
    """Three offers, the last one liked most."""
    base = np.array([0.1, 0.2, 0.9], dtype=np.float32)
    return Candidates(np.array([1, 2, 3], dtype=np.uint32), base, np.ones(3), facts=facts)


@pytest.mark.parametrize("explore", ["epsilon_greedy", "inverse_gap"])
def test_it_keeps_the_laws_of_all_policies(explore: str) -> None:
    check(build_policy(spec(explore=explore)))


def test_it_learns_nothing_and_says_which_facts_it_reads() -> None:
    policy = build_policy(spec())
    assert not is_learner(policy)
    assert policy.encoder.paths == {"customer.age", "context.reason"}


def test_it_runs_the_model_once_a_decision_and_takes_the_best_but_for_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = build_policy(spec(epsilon=0.03))
    assert isinstance(policy, OnnxPolicy)
    runs: list[Any] = []
    run = policy.model.propensities

    def counted(*given: Any) -> Any:
        runs.append(given)
        return run(*given)

    monkeypatch.setattr(policy.model, "propensities", counted)
    asked = candidates({"customer.age": 50, "context.reason": "buy"})
    found = policy.propensities(None, asked)
    shares = policy.selector(None, asked)(np.ones(3, dtype=bool))
    assert len(runs) == 1
    assert found.argmax() == 2
    assert shares.tolist() == pytest.approx([0.01, 0.01, 0.98])


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(PolicyParameterError, match="did you mean 'model'"):
        build_policy(spec(modell="x"))
    with pytest.raises(PolicyParameterError, match="model is missing"):
        build_policy(PolicySpec("mine", 1, "onnx", {}, FEATURES))
