"""Evaluations of logs in files, and their agreement with the formulas of the Open Bandit Pipeline (obp)."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from bandits.policy import PolicySpec
from bandits.specification import parse_stored_spec, spec_to_dict
from decisioning.errors import Invalid, NotFound
from decisioning.evaluation.service import EvaluationScope
from decisioning.exporting.log_evaluation import evaluate_log

ACTIONS = ["alpha", "beta", "gamma", "delta"]
ROUNDS = 1500
GREEDY = PolicySpec("greedy", 1, "propensity")
DICE = PolicySpec("dice", 1, "random")
START = datetime(2026, 1, 31, tzinfo=UTC)
Array = NDArray[np.float64]


def somebody_elses(seed: int = 3, rounds: int = ROUNDS) -> tuple[dict[str, Any], dict[str, Array]]:
    """A log with the documented columns alone, and what is behind it: shapes ``(n,)`` and ``(n, 4)``."""
    rng = np.random.default_rng(seed)
    logging = rng.dirichlet(np.full(4, 4.0), rounds)
    action = np.array([rng.choice(4, p=p) for p in logging])
    rates = rng.uniform(0.1, 0.9, (rounds, 4))
    model = rng.uniform(0.0, 1.0, (rounds, 4)).astype(np.float32).astype(np.float64)
    index = np.arange(rounds)
    reward = (rng.random(rounds) < rates[index, action]).astype(float)
    columns = {
        "offer_id": [ACTIONS[a] for a in action],
        "candidates": [ACTIONS] * rounds,
        "probability": logging[index, action],
        "reward": reward,
        "candidate_propensities": list(model),
        "context.hour": rng.integers(0, 24, rounds),
    }
    behind = {"action": action, "pscore": logging[index, action], "reward": reward, "model": model}
    return columns, behind


def write(path: Path, columns: Mapping[str, Any]) -> Path:
    """Write a log."""
    pq.write_table(pa.table({name: pa.array(list(values)) for name, values in columns.items()}), path)
    return path


def evaluated(path: Path, spec: PolicySpec = GREEDY, **scope: Any) -> dict[str, Any]:
    """Evaluate, as the command does."""
    made = replace(EvaluationScope("", limit=10**6), **scope)
    return evaluate_log(spec, path, made, time.perf_counter)


def of_obp(behind: Mapping[str, Array], action_dist: Array, q_hat: Array) -> dict[str, float]:
    """IPS, SNIPS and DR as obp defines them.

    Written anew from the definitions in its documentation: importance weights ``iw = pi(a|x) / pscore``; IPW: the
    mean of ``iw r``; self-normalised: of ``iw r / mean(iw)``; DR: of ``sum_a pi(a|x) q(x, a) + iw (r - q(x, a))``.
    """
    index, action = np.arange(len(behind["reward"])), behind["action"].astype(int)
    iw = action_dist[index, action] / behind["pscore"]
    baseline = np.average(q_hat, weights=action_dist, axis=1)
    return {
        "ips": float(np.mean(iw * behind["reward"])),
        "snips": float(np.mean(iw * behind["reward"] / iw.mean())),
        "dr": float(np.mean(baseline + iw * (behind["reward"] - q_hat[index, action]))),
    }


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_estimates_agree_with_the_formulas_of_obp_to_a_millionth(tmp_path: Path, seed: int) -> None:
    columns, behind = somebody_elses(seed)
    found = evaluated(write(tmp_path / "log.parquet", columns))["estimates"]
    action_dist = np.zeros((ROUNDS, 4))
    action_dist[np.arange(ROUNDS), behind["model"].argmax(axis=1)] = 1.0
    assert found["rows"] == ROUNDS
    for name, value in of_obp(behind, action_dist, behind["model"]).items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-6), name


def test_a_uniform_target_agrees_as_well(tmp_path: Path) -> None:
    columns, behind = somebody_elses()
    found = evaluated(write(tmp_path / "log.parquet", columns), DICE)["estimates"]
    uniform = np.full((ROUNDS, 4), 0.25)
    for name, value in of_obp(behind, uniform, behind["model"]).items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-6), name


def test_candidates_may_differ_from_row_to_row(tmp_path: Path) -> None:
    columns = {
        "offer_id": ["a", "b", "a"],
        "candidates": [["a", "b"], ["a", "b", "c"], ["a"]],
        "probability": [0.5, 0.25, 1.0],
        "reward": [1.0, 1.0, 0.0],
    }
    found = evaluated(write(tmp_path / "log.parquet", columns), DICE)["estimates"]
    assert found["rows"] == 3
    assert found["ips"]["value"] == pytest.approx((0.5 / 0.5 + (1 / 3) / 0.25 + 0.0) / 3)


def test_a_policy_learns_on_its_way(tmp_path: Path) -> None:
    columns, _ = somebody_elses()
    rng = np.random.default_rng(1)
    best = np.array([name == "beta" for name in columns["offer_id"]])
    columns["reward"] = (rng.random(ROUNDS) < np.where(best, 0.8, 0.1)).astype(float)
    found = evaluated(write(tmp_path / "log.parquet", columns), PolicySpec("learns", 1, "thompson"))
    assert found["learned"] == ROUNDS - 1  # nothing comes after the last one
    assert found["estimates"]["lift"]["low"] > 0.2


def test_features_are_columns_or_facts(tmp_path: Path) -> None:
    feature = {"name": "hour", "kind": "numeric", "path": "context.hour", "low": 0, "high": 24}
    spec = parse_stored_spec(
        spec_to_dict(PolicySpec("linear", 1, "linear_thompson")) | {"features": [feature]}
    )
    columns, _ = somebody_elses(rounds=200)
    found = evaluated(write(tmp_path / "columns.parquet", columns), spec)
    assert not any("Never logged" in text for text in found["warnings"])
    as_json = [f'{{"context.hour": {hour}}}' for hour in columns.pop("context.hour")]
    again = evaluated(write(tmp_path / "facts.parquet", columns | {"facts": as_json}), spec)
    assert again["estimates"]["dr"] == found["estimates"]["dr"]
    columns.pop("candidate_propensities")
    without = evaluated(write(tmp_path / "none.parquet", columns), spec)
    assert any("Never logged in these decisions: context.hour" in text for text in without["warnings"])


def test_what_is_open_imported_or_unknown_is_left_out_and_does_not_use_up_the_limit(tmp_path: Path) -> None:
    n = 6
    columns = {
        "decision_id": [f"d{i}" for i in range(n)],
        "decided_at": [START + timedelta(hours=i) for i in range(n)],
        "placement": ["home"] * 5 + ["desk"],
        "offer_id": ["a"] * n,
        "candidates": [["a", "b"]] * n,
        "probability": [0.5, 0.5, 0.5, None, 0.5, 0.5],
        "reward": [1.0, 0.0, 1.0, 1.0, None, 1.0],
        "closed": [True, True, True, True, False, True],
        "source": ["live", "live", "live", "history", "live", "live"],
    }
    path = write(tmp_path / "log.parquet", columns)
    found = evaluated(path, DICE, placement="home", limit=2)
    assert (found["decisions"], found["open"], found["imported"]) == (2, 1, 1)
    assert found["estimates"]["earned"]["value"] == 0.5  # of the second and the third
    assert {row["reason"]: row["slots"] for row in found["left_out"]} == {"imported": 1}
    later = evaluated(path, DICE, since=START + timedelta(hours=2), until=START + timedelta(hours=3))
    assert later["decisions"] == 1


def test_slots_of_one_decision_are_one_unit(tmp_path: Path) -> None:
    columns = {
        "decision_id": ["d1", "d1", "d2", "d2"],
        "rank": [1, 2, 1, 2],
        "offer_id": ["a", "b", "b", "a"],
        "candidates": [["a", "b", "c"], ["b", "c"], ["a", "b", "c"], ["a", "c"]],
        "probability": [1 / 3, 0.5, 1 / 3, 0.5],
        "reward": [1.0, 0.0, 0.0, 1.0],
    }
    path = write(tmp_path / "log.parquet", columns)
    assert evaluated(path, DICE)["estimates"]["rows"] == 2
    both = evaluated(path, DICE, slots="all")
    assert (both["decisions"], both["estimates"]["rows"]) == (2, 4)
    assert both["estimates"]["mean_weight"] == pytest.approx(1.0)


def test_a_folder_is_read_in_the_order_of_its_days(tmp_path: Path) -> None:
    columns, behind = somebody_elses(rounds=40)
    for day, part in (("2026-01-30", slice(0, 20)), ("2026-01-31", slice(20, 40))):
        folder = tmp_path / f"day={day}"
        folder.mkdir()
        write(folder / "part-0000.parquet", {name: values[part] for name, values in columns.items()})
        (folder / ".part-0001.parquet.tmp").write_bytes(b"cut off")
    found = evaluated(tmp_path, DICE, limit=20)
    assert found["estimates"]["earned"]["value"] == pytest.approx(behind["reward"][20:].mean())


BASE: dict[str, Any] = {"offer_id": ["a"], "candidates": [["a", "b"]], "probability": [0.5], "reward": [1.0]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"probability": None}, "lacks probability"),
        ({"probability": [0.0]}, "row 1: probability must be above 0"),
        ({"probability": [1.5]}, "row 1: probability must be above 0"),
        ({"reward": [float("nan")]}, "row 1: reward must be a finite number"),
        ({"offer_id": ["z"]}, "row 1: offer_id 'z' is not among its candidates"),
        ({"candidates": [["a", "a"]]}, "named twice"),
        ({"candidates": ["a, b"]}, "candidates must be lists of offer ids"),
        ({"candidate_weights": [[1.0]]}, "candidate_weights must be as long as candidates"),
        ({"facts": ["[1]"]}, "facts must be a JSON object"),
    ],
)
def test_what_is_wrong_with_a_log_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    columns = {name: values for name, values in (BASE | changes).items() if values is not None}
    with pytest.raises(Invalid, match=said) as caught:
        evaluated(write(tmp_path / "log.parquet", columns), DICE)
    assert caught.value.field == "log"


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("no", encoding="utf-8")
    with pytest.raises(Invalid, match="cannot be read as Parquet"):
        evaluated(tmp_path / "x.parquet", DICE)
    with pytest.raises(Invalid, match="no Parquet file"):
        evaluated(tmp_path / "nothing", DICE)
    path = write(tmp_path / "log.parquet", BASE)
    with pytest.raises(Invalid, match="no placement"):
        evaluated(path, DICE, placement="home")
    with pytest.raises(Invalid, match="start cold"):
        evaluated(path, DICE, start="warm")
    empty = pa.table({name: pa.array(values)[:0] for name, values in BASE.items()})
    pq.write_table(empty, tmp_path / "empty.parquet")
    with pytest.raises(NotFound):
        evaluated(tmp_path / "empty.parquet", DICE)


def test_what_no_policy_selected_is_left_out_even_if_it_was_no_candidate(tmp_path: Path) -> None:
    columns = {
        "offer_id": ["z", "a"],
        "candidates": [["a", "b"], ["a", "b"]],
        "probability": [None, 0.5],
        "reward": [1.0, 1.0],
    }
    found = evaluated(write(tmp_path / "log.parquet", columns), DICE)
    assert (found["decisions"], found["estimates"]["rows"]) == (2, 1)
    assert {row["reason"]: row["slots"] for row in found["left_out"]} == {"default": 1}
