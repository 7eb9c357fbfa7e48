"""`nextbest policies check`: the laws one by one, the reasons, the times, and the exit status."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.commands.policy import policy_check
from bandits.conformance.checks import checks_for
from bandits.policy import PolicySpec
from bandits.registry import build_policy
from bandits.regression.design import Design

GREEDY = "bandits.algorithms.epsilon_greedy:EpsilonGreedyPolicy"
BROKEN = "tests.support.bandits_broken"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is measured: what the times are does not matter here."""
    monkeypatch.setattr(policy_check, "OFFER_COUNTS", (10, 20))
    monkeypatch.setattr(policy_check, "_MAX_RUNS", 5)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["policies", "check", *arguments])


@pytest.mark.parametrize("target", [GREEDY, "random", "linear_thompson"])
def test_a_policy_that_keeps_all_laws(target: str) -> None:
    result = run(target)
    assert result.exit_code == 0, result.output
    algorithm = {GREEDY: "epsilon_greedy"}.get(target, target)
    laws = [law.__name__ for law in checks_for(build_policy(PolicySpec("x", 1, algorithm)))]
    lines = result.output.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("  passed")] == laws
    assert "broken" not in result.output
    table = [line.split() for line in lines if line.split()[0] in ("10", "20")]
    assert [len(row) for row in table] == [5, 5]
    assert "NEXTBEST_POLICY_BUDGET_MS" in lines[-1]


def test_broken_laws_are_named_with_the_reason_and_the_others_are_still_tried() -> None:
    result = run(f"{BROKEN}:Boundless")
    assert result.exit_code == 1
    assert "  broken  is_described: Name, version, width, epsilon" in result.output
    assert "epsilon is 1.5, which is no share" in result.output
    assert "  broken  distributions_are_exact" in result.output
    assert "  passed  propensities_are_chances" in result.output
    assert "a policy is ready for use when none is" in result.output
    assert "median" not in result.output


def test_a_policy_is_tried_with_a_specification(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("parameters: {epsilon: 0.25}\n", encoding="utf-8")
    result = run(GREEDY, "--spec", str(file))
    assert result.exit_code == 0, result.output
    assert "EpsilonGreedyPolicy with {'epsilon': 0.25}" in result.output


def test_what_can_be_registered_can_be_checked(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    said = "name: spring\nalgorithm: epsilon_greedy\ndescription: off\nlearn_since: {days: 90}\n"
    file.write_text(said, encoding="utf-8")
    result = run("epsilon_greedy", "--spec", str(file))
    assert result.exit_code == 0, result.output


def test_features_of_the_specification_are_tried_too(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_text(
        '{"algorithm": "logistic_thompson", "features": [{"name": "hour", "kind": "time_of_day"},'
        ' {"name": "age", "kind": "numeric", "path": "customer.age", "low": 18, "high": 90}]}',
        encoding="utf-8",
    )
    result = run("logistic_thompson", "--spec", str(file))
    assert result.exit_code == 0, result.output
    assert "passed  features_are_pure" in result.output


def test_a_policy_that_is_taught_in_one_order(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("parameters: {factory: 'bandits.river_factories:logistic'}\n", encoding="utf-8")
    result = run("river", "--spec", str(file))
    assert result.exit_code == 0, result.output
    assert "median" in result.output


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("parameters: {epsilon: 7}", "spec.yaml: parameters.epsilon: epsilon must be a number"),
        ("parametres: {}", "spec.yaml: parametres: .*did you mean 'parameters'"),
        ("features: [{name: d, kind: weekday}]", "features: epsilon_greedy takes no features"),
        ("[1, 2]", "an object with fields"),
        ("a: [", r"spec.yaml:\d: document: "),
        ("description: off\ndescription: on", "spec.yaml:2: description: 'description' is there twice"),
        ("parameters: &all {epsilon: 0.1}\ndescription: *all", r"spec.yaml:2: document: aliases"),
        ("parameters: {epsilon: .inf}", "spec.yaml:1: parameters.epsilon: must be a finite number"),
        ("learn_since_ms: 1\nlearn_since: 2026-01-01", "learn_since: is there as learn_since_ms too"),
        ("learn_from: value", "value_scale: value_scale is missing"),
        ("x" * 1_000_001, "has more than 1000000 bytes"),
    ],
)
def test_a_specification_that_cannot_be(tmp_path: Path, said: str, message: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(said, encoding="utf-8")
    result = run(GREEDY, "--spec", str(file))
    assert result.exit_code == 2
    _says(result, message)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_package_here:Mine", "is its package installed here"),
        ("bandits.algorithms.ucb:Missing", "cannot be imported: AttributeError"),
        ("bandits.algorithms.ucb:upper_bound", "is not a class"),
        ("thomson", "algorithm: there is no algorithm 'thomson'.*did you mean 'thompson'"),
        ("pathlib:Path", "Path cannot be made of this"),
        (f"{BROKEN}:BROKEN", "is not a class"),
    ],
)
def test_a_policy_that_cannot_be_made(target: str, message: str) -> None:
    result = run(target)
    assert result.exit_code == 2
    _says(result, message)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = run(GREEDY, "--spec", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    _says(result, "none.yaml: No such file")


def test_a_policy_over_its_budget_is_named_with_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_POLICY_BUDGET_MS", "0.000001")
    result = run(GREEDY)
    assert result.exit_code == 0
    assert "over the budget of 1e-06 ms (NEXTBEST_POLICY_BUDGET_MS) among 10 and 20 offers" in result.output


def _says(result: Result, message: str) -> None:
    assert re.search(message, result.output.replace("\n", " ")), result.output


def test_every_decision_that_is_timed_is_a_request_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy may keep what it found for a request between its propensities and its choice, but no longer."""
    made, runs = [], 5
    columns = Design.columns

    def counted(self: Design, *arguments: Any) -> Any:
        made.append(arguments)
        return columns(self, *arguments)

    def repeated(run: Callable[[], None]) -> float:
        for _ in range(runs):
            run()
        return 1.0

    monkeypatch.setattr(Design, "columns", counted)
    monkeypatch.setattr(policy_check, "_median_us", repeated)
    policy_check.median_times(build_policy(PolicySpec("p", 1, "calibrated")), 20)
    assert len(made) == runs
