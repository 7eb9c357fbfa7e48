"""The benchmark of apprentices: what is in the docs is what was measured, and it measures what it says."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.apprentice import CALLERS, OFFERS, RESULTS, Learner, Town, format_tables, run_life

DOCS = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def test_the_docs_have_the_figures_that_were_measured() -> None:
    figures = json.loads(RESULTS.read_text(encoding="utf-8"))
    said = DOCS.read_text(encoding="utf-8")
    for table in format_tables(figures["rows"]).split("\n\n"):
        assert table in said


@pytest.mark.parametrize("caller", CALLERS)
def test_callers_are_as_good_as_they_are_called(caller: str) -> None:
    taken, best = 0.0, 0.0
    for seed in range(6):
        town = Town(caller, seed)
        chances = np.zeros((8, OFFERS))
        for _ in range(600):
            customer = town.draw_customer()
            chances[customer.cell] += customer.chances
        taken += chances[np.arange(8), town.table].sum()
        best += chances.max(axis=1).sum()
    low, high = {"good": (0.97, 1.0), "wrong for some": (0.75, 0.9), "careless": (0.0, 0.7)}[caller]
    assert low < taken / best <= high


def test_every_policy_meets_the_same_caller() -> None:
    lives = [
        run_life("good", partial(Learner, name), 3, choices=(5, 20), phases=(10, 30), asked=20)
        for name in ("apprentice", "calibrated")
    ]
    assert lives[0].caller == lives[1].caller
    assert lives[0].policy != lives[1].policy
    assert [set(life.agreement) for life in lives] == [{5, 20}, {5, 20}]
    assert (set(lives[0].knows), lives[1].knows) == ({5, 20}, {})
