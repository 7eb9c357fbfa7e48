"""Editors check specifications of policies by a schema that says what the parser says."""

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.policy_schema import parameter_names, specification_schema
from app.specs import yaml_values
from bandits.errors import PolicyParameterError
from bandits.features import OPTIONS, Feature
from bandits.policy import PolicySpec
from bandits.registry import ALGORITHMS, BUILT_IN, build_policy
from bandits.specification import spec_to_dict

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = [
    (page.name, block)
    for page in sorted(DOCS.glob("*.md"))
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    if re.search(r"^algorithm:", block, re.MULTILINE)
]
AGE = "{name: age, kind: numeric, path: customer.age, low: 18}"


def wrong_in(document: str) -> list[str]:
    """The paths at which a specification does not meet the schema."""
    values = json.loads(json.dumps(yaml_values(document), default=str))
    validator = jsonschema_rs.validator_for(specification_schema())
    return ["/".join(map(str, error.instance_path)) for error in validator.iter_errors(values)]


def test_there_are_examples_of_it() -> None:
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(("page", "document"), EXAMPLES)
def test_all_examples_of_the_documentation_meet_the_schema(page: str, document: str) -> None:
    assert wrong_in(document) == [], page


@pytest.mark.parametrize("spec", BUILT_IN, ids=lambda spec: spec.key)
def test_what_is_shown_meets_the_schema(spec: PolicySpec) -> None:
    assert wrong_in(json.dumps(spec_to_dict(spec))) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parameters_are_those_that_the_algorithm_takes(algorithm: str) -> None:
    with pytest.raises(PolicyParameterError, match="has no parameter 'none'; it has: ") as error:
        build_policy(PolicySpec("x", 1, algorithm, {"none": 1}))
    told = re.search(r"it has: ([a-z0-9_, ]+)", str(error.value))
    assert told is not None
    names = set() if told[1] == "none" else {*told[1].split(", ")}
    assert {*parameter_names(algorithm)} - {"model_file"} == names


def test_a_feature_has_no_field_that_no_kind_takes() -> None:
    fields = {name for names in OPTIONS.values() for name in names} | {"name", "kind"}
    assert fields == {*Feature.__dataclass_fields__}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ("algorithm: ucb", ""),
        ("name: Big Name\nalgorithm: ucb", "name"),
        ("name: a\nalgorithm: ucb\nparametres: {}", ""),
        ("name: a\nalgorithm: ucb\nparameters: {explore: 1}", "parameters"),
        ("name: a\nalgorithm: random\nparameters: {epsilon: 1}", "parameters"),
        ("name: a\nalgorithm: ucb\nlearn_from: clicks", "learn_from"),
        ("name: a\nalgorithm: ucb\nlearn_since: {weeks: 2}", "learn_since"),
        ("name: a\nalgorithm: lin_ucb\nfeatures: [{name: age, kind: numeric, topics: [x]}]", "features"),
        ("name: a\nalgorithm: lin_ucb\nfeatures: [{kind: weekday}]", "features"),
    ],
)
def test_what_is_wrong_is_found_by_editors(document: str, path: str) -> None:
    assert path in wrong_in(document)


@pytest.mark.parametrize(
    "document",
    [
        f"name: a\nalgorithm: lin_ucb\nfeatures: [{AGE}]\nparameters: {{alpha: 0.1}}\nlearn_since: {{days: 90}}",
        "name: a\nalgorithm: lin_ucb\nfeatures: auto\nlearn_since: 2026-01-01T00:00:00Z",
        "name: a\nalgorithm: of_a_package\nparameters: {whatever: {it: takes}}",
    ],
)
def test_what_is_right_is_not_marked(document: str) -> None:
    assert wrong_in(document) == []


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(app, ["policies", "schema"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == specification_schema()
