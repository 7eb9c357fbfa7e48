"""docs/river.md is held against the code."""

import inspect
import re
from pathlib import Path

import yaml

from bandits import river_factories
from bandits.registry import build_policy
from bandits.river import pipeline_policy
from bandits.river.model_codec import MAX_OBJECTS, MAX_STORED_BYTES
from bandits.specification import parse_spec
from decisioning.evaluation.model_replay_service import MAX_OUTCOMES

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "river.md").read_text()
TEXT = " ".join(PAGE.split())
FACTORIES = {
    name
    for name, made in inspect.getmembers(river_factories, inspect.isfunction)
    if made.__module__ == river_factories.__name__ and not name.startswith("_")
}


def test_all_factories_are_told_and_measured() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == FACTORIES
    assert all(f"`{name}`" in TEXT.split("## What a model sees")[0] for name in FACTORIES)


def test_limits_are_those_of_the_code() -> None:
    assert f"beyond {MAX_STORED_BYTES // 2**20} MB stored or {MAX_OBJECTS:,} objects" in TEXT
    assert f"beyond {MAX_OUTCOMES:,} outcomes" in TEXT
    assert f'"{pipeline_policy.GROUP}"' in TEXT


def test_the_specification_can_be_used() -> None:
    (written,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    body = yaml.safe_load(written)
    body["parameters"]["factory"] = "bandits.river_factories:logistic"
    policy = build_policy(parse_spec({"version": 1, **body}))
    assert isinstance(policy, pipeline_policy.RiverPolicy)
    assert (policy.epsilon, policy.explore, policy.gamma) == (0.05, "inverse_gap", 100.0)
