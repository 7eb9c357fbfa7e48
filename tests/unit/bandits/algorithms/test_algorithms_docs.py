"""The page on algorithms: every algorithm has a section, with the parameters and defaults that the code has."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bandits.algorithms.apprentice import DEFAULT_CAUTION
from bandits.algorithms.beta_arms import BetaArmsPolicy
from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.features import Feature
from bandits.onnx.onnx_policy import OnnxPolicy
from bandits.onnx.propensity_model import PARAMETERS
from bandits.policy import PolicySpec
from bandits.registry import ALGORITHMS, build_policy
from bandits.regression.regression_policy import RegressionPolicy
from bandits.river.pipeline_policy import RiverPolicy
from tests.support.onnx_models import logistic_file, text_of

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "algorithms.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ROW = re.compile(r"^\| `(\w+)` \| (?:`([^`]*)`)? *\|", re.MULTILINE)
SHARED = {
    "(#parameters-of-beta-arms)": "Parameters of Beta arms",
    "(#parameters-of-regressions)": "Parameters of regressions",
}


def documented(section: str) -> dict[str, Any]:
    """The parameters of a section with their defaults, those that it refers to included."""
    found: dict[str, Any] = {}
    for link, shared in SHARED.items():
        if link in SECTIONS[section]:
            found |= documented(shared)
    return found | {
        name: yaml.safe_load(default or "null") for name, default in ROW.findall(SECTIONS[section])
    }


def of_the_code(name: str) -> dict[str, Any]:
    """The parameters that the code knows, with their defaults."""
    algorithm: Any = ALGORITHMS[name]
    if isinstance(algorithm, type) and issubclass(algorithm, BetaArmsPolicy | RegressionPolicy):
        return {**algorithm.common_parameters, **algorithm.own_parameters}
    if name == "apprentice":
        learned = {**CalibratedPolicy.common_parameters, **CalibratedPolicy.own_parameters}
        return {**learned, "caution": DEFAULT_CAUTION}
    if name == "onnx":
        parameters = {"model": text_of(logistic_file([1.0]))}
        model = build_policy(PolicySpec("p", 1, name, parameters, (Feature("mart", "propensity"),)))
        assert isinstance(model, OnnxPolicy)
        return {**PARAMETERS, "explore": model.explore, "gamma": model.gamma, "epsilon": model.epsilon}
    if name == "river":
        river = build_policy(PolicySpec("p", 1, name, {"factory": "bandits.river_factories:logistic"}))
        assert isinstance(river, RiverPolicy)
        return {
            "factory": None,
            "arguments": river.arguments,
            "inputs": river.inputs.described[0],
            "explore": river.explore,
            "gamma": river.gamma,
            "epsilon": river.epsilon,
            "default_propensity": river.default,
        }
    return {}


def test_every_algorithm_has_a_section() -> None:
    assert {name.strip("`") for name in SECTIONS if name.startswith("`")} == set(ALGORITHMS)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_parameters_and_defaults_are_those_of_the_code(name: str) -> None:
    assert documented(f"`{name}`") == of_the_code(name)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_section_says_what_for_by_whom_at_which_cost_and_when_not(name: str) -> None:
    for part in ("**For**", "**Paper**", "**Cost**", "**Not**"):
        assert part in SECTIONS[f"`{name}`"]
