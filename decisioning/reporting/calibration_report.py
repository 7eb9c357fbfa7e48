"""The report on calibration: what policies predicted, against what came of it, in bins and by group. Pure."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from bandits.intervals import wilson_interval

CalibrationDimension = Literal["day", "week", "month", "offer", "channel", "placement", "policy"]
DIMENSIONS: tuple[CalibrationDimension, ...] = get_args(CalibrationDimension)
SUMS = ("observed", "accepted", "predicted", "squared")
"""Sums over offers whose reward window is closed: their number, acceptances, propensities, and squared errors."""

_FLOATS = ">f8"
"""Predictions as Postgres writes them."""


def bin_predictions(taken: bytes, others: bytes, bins: int) -> list[dict[str, Any]]:
    """Put predictions of accepted offers (``taken``) and of ``others`` into bins of as many offers each.

    Both are floats of 8 bytes, big-endian. Returns rows with ``bin``, ``SUMS``, ``least`` and ``largest``, in the order
    of bins. Equal predictions are in one bin, so there may be fewer than ``bins``.
    """
    predicted = np.concatenate([np.frombuffer(some, _FLOATS).astype(np.float64) for some in (taken, others)])
    if not len(predicted):
        return []
    accepted = np.zeros(len(predicted), np.int64)
    accepted[: len(taken) // 8] = 1
    order = np.argsort(predicted, kind="stable")
    predicted, accepted = predicted[order], accepted[order]
    edges = [predicted[math.ceil(part / bins * len(predicted)) - 1] for part in range(1, bins)]
    places = np.searchsorted(np.array(edges, np.float64), predicted, side="right")
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(starts[1:], len(predicted))
    columns = {
        "bin": places[starts],
        "observed": ends - starts,
        "accepted": np.add.reduceat(accepted, starts),
        "predicted": np.add.reduceat(predicted, starts),
        "squared": np.add.reduceat((predicted - accepted) ** 2, starts),
        "least": predicted[starts],
        "largest": predicted[ends - 1],
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def calibration_bins(counted: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make the points of a reliability diagram of the rows that have a ``bin``, ``SUMS``, ``least`` and ``largest``.

    Each has the bounds of its predictions, their mean, and the observed rate with Wilson's 95 % interval.
    """
    bins = sorted((row for row in counted if row["bin"] is not None), key=lambda row: row["bin"])
    return [calibration_of(row) | {"least": row["least"], "largest": row["largest"]} for row in bins]


def calibration_rows(
    counted: Iterable[Mapping[str, Any]], by: Collection[CalibrationDimension]
) -> Iterator[dict[str, Any]]:
    """Make a row for each group by ``by``, in the order in which they come, of the rows without a ``bin``."""
    names = [name for name in DIMENSIONS if name in by]
    return (
        calibration_of(row) | {name: row[name] for name in names} for row in counted if row["bin"] is None
    )


def calibration_of(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mean prediction, the observed rate with its interval, and Brier's score; ``None`` where there is none.

    ``within``: whether the mean prediction lies in the interval. Brier, *Verification of forecasts expressed in terms
    of probability*, Monthly Weather Review 78 (1950).
    """
    observed = sums["observed"]
    rate, low, high = wilson_interval(sums["accepted"], observed)
    predicted = sums["predicted"] / observed if observed else None
    return {
        "observed": observed,
        "accepted": sums["accepted"],
        "predicted": predicted,
        "rate": rate,
        "low": low,
        "high": high,
        "within": None if predicted is None else low <= predicted <= high,
        "brier": sums["squared"] / observed if observed else None,
    }


def calibration_error(bins: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the expected calibration error: the mean distance of predictions and rates of bins, weighted by offers.

    Naeini, Cooper and Hauskrecht, *Obtaining well calibrated probabilities using Bayesian binning*, AAAI 2015.
    """
    total = sum(one["observed"] for one in bins)
    distances: Iterable[float] = (one["observed"] * abs(one["predicted"] - one["rate"]) for one in bins)
    return sum(distances) / total if total else None
