"""Models of scikit-learn, LightGBM and MLflow, as converters write them (``tests/support/converted/make.py``)."""

import json
from pathlib import Path

import numpy as np
import pytest

from bandits.features import Feature
from bandits.policy import Candidates, PolicySpec
from bandits.registry import build_policy
from tests.support.onnx_models import text_of

FOLDER = Path(__file__).parents[3] / "support" / "converted"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
FEATURES = (
    Feature("age", "numeric", "customer.age", low=18.0, high=99.0, default=45.0),
    Feature("tenure", "numeric", "customer.tenure", default=0.0),
    Feature("reason", "category", "context.reason", values=("renewal", "complaint")),
)
WHICH = {"name": "which", "attribute": "offer_id", "values": ["gold", "silver"]}
OFFERS = {"1": {"offer_id": "gold"}, "2": {"offer_id": "silver"}}


@pytest.mark.parametrize("suffix", ["", "-mlflow"], ids=["as trained", "from MLflow"])
@pytest.mark.parametrize("name", ["logistic", "trees"])
def test_a_converted_model_says_what_its_library_said(name: str, suffix: str) -> None:
    parameters = {"model": text_of((FOLDER / f"{name}{suffix}.onnx").read_bytes()), "offer_features": [WHICH]}
    policy = build_policy(PolicySpec("spring", 1, "onnx", {**parameters, "offers": OFFERS}, FEATURES))
    found = []
    for age, tenure, renewal, _, gold, _ in EXPECTED["rows"]:
        facts = {
            "customer.age": age,
            "customer.tenure": tenure,
            "context.reason": "renewal" if renewal else "complaint",
        }
        numbers = np.array([1, 2], dtype=np.uint32)
        candidates = Candidates(numbers, np.full(2, 0.1, dtype=np.float32), np.ones(2), facts=facts)
        found.append(float(policy.propensities(None, candidates)[0 if gold else 1]))
    assert found == pytest.approx(EXPECTED[name], abs=1e-6)
    assert max(found) - min(found) > 0.1


@pytest.mark.parametrize("name", ["logistic", "trees"])
def test_mlflow_gives_back_the_model_that_it_was_given(name: str) -> None:
    """Promised in docs/onnx.md: converted after that, it is the same file."""
    kept = (FOLDER / f"{name}-mlflow.onnx").read_bytes()
    assert kept == (FOLDER / f"{name}.onnx").read_bytes()
