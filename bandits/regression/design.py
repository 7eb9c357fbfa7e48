"""The design matrix of regression policies: the columns of a request and an offer, and their common scale.

A candidate's columns are ``z = [1, x, l, none]``: one for the intercept, the request's features as they were encoded,
and, if the precomputed propensity ``q`` is a feature, ``l = logit(q) / 4`` and an indicator that there is none.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.features import Encoder
from bandits.policy import FloatArray

LOGIT_SCALE = 4.0
"""Logits of propensities are divided by this, so that columns stay small and their sums exact."""

_MIN_CHANCE = 1e-6
_PRIOR_DEVIATION, _PRIOR_WEIGHT = 1 / 8, 1.0
_MIN_DEVIATION = 1 / 256
_OFFSET = -1.2


def logit(p: ArrayLike) -> FloatArray:
    """Return ``log(p / (1 - p))``, with ``p`` clipped to [1e-6, 1 - 1e-6]."""
    within = np.minimum(np.maximum(np.asarray(p, dtype=np.float64), _MIN_CHANCE), 1.0 - _MIN_CHANCE)
    logits: FloatArray = np.log(within / (1.0 - within))
    return logits


def sigmoid(s: NDArray[Any]) -> NDArray[Any]:
    """Return ``1 / (1 + exp(-s))``, with ``s`` clipped to [-30, 30]. Keeps the type of its argument."""
    e: NDArray[Any] = np.exp(-np.minimum(np.maximum(s, -30.0), 30.0))  # np.clip is slow on small arrays
    e += 1.0
    return 1.0 / e


@dataclass(frozen=True)
class Design:
    """The layout of the columns.

    ``width``: how many. ``common``: how many of them are the same for all candidates (the first ones). ``numeric`` and
    ``missing``: the columns that are put on one scale, and for each the column that is 1 where its value is missing
    (0, the intercept, if there is no such column).
    """

    width: int
    common: int
    numeric: tuple[int, ...]
    missing: tuple[int, ...]

    @classmethod
    def of(cls, encoder: Encoder) -> "Design":
        """Make the design for the features of an encoder."""
        common = 1 + encoder.width
        pairs = [(1 + value, 0 if none is None else 1 + none) for value, none in encoder.scaled]
        if encoder.propensity:
            pairs.append((common, common + 1))
        width = common + 2 * encoder.propensity
        return cls(width, common, tuple(value for value, _ in pairs), tuple(none for _, none in pairs))

    @cached_property
    def _places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return np.array(self.numeric, dtype=np.intp), np.array(self.missing, dtype=np.intp)

    @property
    def propensity(self) -> bool:
        """True if there are columns that differ from candidate to candidate."""
        return self.width > self.common

    def row(self, x: FloatArray, base_propensity: float) -> FloatArray:
        """Return the columns of one offer: shape ``(width,)``."""
        z = np.empty(self.width)
        z[0] = 1.0
        z[1 : self.common] = x
        if self.propensity:
            known = base_propensity == base_propensity  # NaN: there is none
            z[self.common] = float(logit(base_propensity)) / LOGIT_SCALE if known else 0.0
            z[self.common + 1] = 0.0 if known else 1.0
        return z

    def scale(self, moments: FloatArray) -> "Scale":
        r"""Compute the scale of numeric columns: means and deviations over all that was ever observed.

        ``moments``: the sum of ``w z z'``, shape ``(width, width)``: its first row and its diagonal tell.

        Both are rounded, deviations to powers of two times a constant and means to whole deviations (to quarters, where
        they stand for missing values), so that the scale changes rarely: a change costs a new posterior for every
        offer. The constant is such that columns with a range
        that is even, two or three deviations wide on each side are far from where rounding changes. A deviation
        of 1/8 counts as seen with a weight of 1 beforehand, and 1/256 is the least, so that a value unlike the few
        before it is no wonder.
        """
        columns, missing = self._places
        first = moments[0]
        weight = np.maximum(first[0] - np.where(missing > 0, first[missing], 0.0), 0.0)
        seen = np.maximum(weight, 1.0)
        mean = first[columns] / seen
        variance = np.maximum(moments.diagonal()[columns] / seen - mean * mean, 0.0)
        variance = (weight * variance + _PRIOR_WEIGHT * _PRIOR_DEVIATION**2) / (weight + _PRIOR_WEIGHT)
        deviation = np.exp2(
            np.rint(np.log2(np.maximum(variance, _MIN_DEVIATION**2)) * 0.5 - _OFFSET) + _OFFSET
        )
        step = deviation * np.where(missing > 0, 0.25, 1.0)
        return Scale(np.rint(mean / step) * step + 0.0, deviation)  # + 0.0: zero is never negative

    def unscaling(self, scale: "Scale") -> FloatArray:
        """Return the matrix that turns scaled columns back into unscaled ones: shape ``(width, width)``.

        A scaled numeric column is ``(value - mean) / deviation``, and 0 (the mean) where the value is missing.
        """
        unscaling = np.eye(self.width)
        columns, missing = self._places
        unscaling[columns, columns] = scale.deviation
        unscaling[columns, 0] = scale.mean
        some = missing > 0
        unscaling[columns[some], missing[some]] = -scale.mean[some]
        return unscaling

    def columns(self, x: FloatArray, base_propensity: ArrayLike) -> "CandidateColumns":
        """Return the columns of ``n`` candidates.

        What is in a candidate's column depends on that candidate alone, bit for bit.
        """
        common = np.empty(self.common)
        common[0] = 1.0
        common[1:] = x
        if not self.propensity:
            return CandidateColumns(common, None)
        base_propensity = np.asarray(base_propensity, dtype=np.float64)
        none = np.isnan(base_propensity)
        own = np.zeros((2, len(base_propensity)))
        own[1] = none
        if not none.all():
            own[0] = np.where(none, 0.0, logit(np.where(none, 0.5, base_propensity)) / LOGIT_SCALE)
        return CandidateColumns(common, own)


@dataclass(frozen=True, slots=True)
class Scale:
    """Means and deviations of numeric columns, rounded; shape ``(k,)`` each."""

    mean: FloatArray
    deviation: FloatArray

    def is_same(self, other: "Scale") -> bool:
        """Return whether both are the same, bit for bit."""
        return (
            self.mean.tobytes() == other.mean.tobytes()
            and self.deviation.tobytes() == other.deviation.tobytes()
        )


@dataclass(frozen=True, slots=True)
class CandidateColumns:
    """The columns of ``n`` candidates.

    ``common``: the columns that all candidates share, which come first. ``own``: the others, ``(..., n)``, or ``None``.
    """

    common: FloatArray
    own: FloatArray | None
