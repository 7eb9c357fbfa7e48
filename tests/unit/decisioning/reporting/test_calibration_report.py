"""Predictions in bins of as many offers each."""

import math
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.reporting.calibration_report import bin_predictions

PREDICTIONS = st.lists(st.sampled_from([n / 16 for n in range(17)]), max_size=40)


def as_bytes(predictions: list[float]) -> bytes:
    return np.array(predictions, ">f8").tobytes()


@given(PREDICTIONS, PREDICTIONS, st.integers(1, 12))
def test_bins_have_as_many_offers_each_and_equal_predictions_are_in_one(
    taken: list[float], others: list[float], bins: int
) -> None:
    every = [(p, 1) for p in taken] + [(p, 0) for p in others]
    ordered = sorted(p for p, _ in every)
    edges = [ordered[math.ceil(part / bins * len(ordered)) - 1] for part in range(1, bins) if ordered]
    expected = []
    for place in range(bins):
        some = [(p, a) for p, a in every if bisect_right(edges, p) == place]
        if some:
            expected.append(
                {
                    "bin": place,
                    "observed": len(some),
                    "accepted": sum(a for _, a in some),
                    "predicted": sum(p for p, _ in some),
                    "squared": sum((p - a) ** 2 for p, a in some),
                    "least": min(p for p, _ in some),
                    "largest": max(p for p, _ in some),
                }
            )
    assert bin_predictions(as_bytes(taken), as_bytes(others), bins) == expected


def test_figures_are_plain_numbers() -> None:
    (row,) = bin_predictions(as_bytes([0.3]), as_bytes([]), 1)
    assert {type(value) for value in row.values()} == {int, float}
    assert row["squared"] == pytest.approx(0.49)
