"""The benchmark of off-policy intervals: what is in the docs is what was measured, and it holds what is promised."""

import json
import math
from pathlib import Path

import numpy as np

from benchmarks.ope_intervals import RESULTS, SCENARIOS, format_table, judged, learned_log, measure

DOCS = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
FIGURES = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_docs_have_the_figures_that_were_measured() -> None:
    assert format_table(FIGURES["rows"]) in DOCS.read_text(encoding="utf-8")
    assert {row["log"] for row in FIGURES["rows"]} == {name for name, *_ in SCENARIOS}


def test_intervals_hold_in_95_of_100_logs_or_more_wherever_they_are_given() -> None:
    """With a slack of two and a half binomial deviations; the normal ones do not, in the same logs."""
    for row in FIGURES["rows"]:
        if row["given"]:
            assert row["covers"] >= 0.95 - 2.5 * math.sqrt(0.95 * 0.05 / row["given"]), row
    assert min(row["normal_covers"] for row in FIGURES["rows"]) < 0.5


def test_every_kind_of_log_is_measured_for_every_estimator() -> None:
    small = [scenario for scenario in SCENARIOS if "100 rows" in scenario[0]]
    rows = measure(3, 1, small)
    assert [row["estimator"] for row in rows] == ["ips", "snips", "dr"]
    assert all(row["runs"] == 3 for row in rows)


def test_a_policy_that_learns_logs_the_chances_of_what_it_showed() -> None:
    log = learned_log(np.random.default_rng(1), 30, 4, 0.2)
    columns, truths = judged(log, np.full((30, 4), 0.25))
    probability = np.asarray(columns.logging_probability)
    assert (probability >= 0.2 / 4).all()
    assert (probability <= 1.0).all()
    assert truths["dr"] == float(log.rates.mean(axis=1).mean())
