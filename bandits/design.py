"""The columns that a regression model sees of a request and an offer, and how they are put on one scale.

A candidate's columns are ``z = [1, x, l, none]``: one for the intercept, the request's features as they were encoded,
and, if the precomputed propensity ``q`` is a feature, ``l = logit(q) / 4`` and an indicator that there is none.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.features import Encoder
from bandits.policy import FloatArray

LOGIT_SCALE = 4.0
"""Logits of propensities are divided by this, so that columns stay small and their sums exact."""

_TINY = 1e-6
_GUESS, _GUESS_WEIGHT = 1 / 8, 1.0
_LEAST = 1 / 256


def logit(p: ArrayLike) -> FloatArray:
    """``log(p / (1 - p))`` of chances, of which those below 1e-6 and above 1 - 1e-6 count as such."""
    clipped = np.clip(np.asarray(p, dtype=np.float64), _TINY, 1.0 - _TINY)
    logits: FloatArray = np.log(clipped / (1.0 - clipped))
    return logits


def sigmoid(s: NDArray[Any]) -> NDArray[Any]:
    """``1 / (1 + exp(-s))``; beyond 30 either way nothing changes any more. Keeps the type of its argument."""
    p: NDArray[Any] = 1.0 / (1.0 + np.exp(-np.clip(s, -30.0, 30.0)))
    return p


@cache
def _places(columns: tuple[int, ...]) -> NDArray[np.intp]:
    return np.array(columns, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Design:
    """Which columns there are.

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
        """The design for the features of an encoder."""
        common = 1 + encoder.width
        pairs = [(1 + value, 0 if none is None else 1 + none) for value, none in encoder.scaled]
        if encoder.propensity:
            pairs.append((common, common + 1))
        width = common + 2 * encoder.propensity
        return cls(width, common, tuple(value for value, _ in pairs), tuple(none for _, none in pairs))

    @property
    def propensity(self) -> bool:
        """Whether there are columns that differ from candidate to candidate."""
        return self.width > self.common

    def row(self, x: FloatArray, prior: float) -> FloatArray:
        """The columns of one offer: shape ``(width,)``."""
        z = np.empty(self.width)
        z[0] = 1.0
        z[1 : self.common] = x
        if self.propensity:
            known = prior == prior
            z[self.common] = float(logit(prior)) / LOGIT_SCALE if known else 0.0
            z[self.common + 1] = 0.0 if known else 1.0
        return z

    def scaling(self, second_moments: FloatArray) -> FloatArray:
        r"""The map that puts numeric columns on one scale: a matrix ``M`` of shape ``(width, width)``.

        ``second_moments`` is the sum of ``w z z'`` over all that was ever observed, shape ``(width, width)``: its
        first row and its diagonal hold what is needed for means and variances. With ``z`` a candidate's columns,
        ``M z`` has ``(x_i - mean_i) / deviation_i`` in a numeric column, and 0 (the mean) where the value is missing.

        Means are rounded to a quarter of a deviation, deviations to powers of the square root of two, so that ``M``
        changes rarely: a change costs a new posterior for every offer. A deviation of 1/8 counts as seen with a weight
        of 1 beforehand, and 1/256 is the least, so that a value unlike the few before it is no wonder.
        """
        scaling = np.eye(self.width)
        if not self.numeric:
            return scaling
        columns, missing = self._numeric()
        first = second_moments[0]
        weight = np.maximum(first[0] - np.where(missing > 0, first[missing], 0.0), 0.0)
        seen = np.maximum(weight, 1.0)
        mean = first[columns] / seen
        variance = np.maximum(second_moments[columns, columns] / seen - mean * mean, 0.0)
        variance = (weight * variance + _GUESS_WEIGHT * _GUESS**2) / (weight + _GUESS_WEIGHT)
        deviation = np.exp2(np.rint(np.log2(np.maximum(variance, _LEAST**2))) / 2.0)
        mean = np.rint(mean / (deviation / 4.0)) * (deviation / 4.0)
        scaling[columns, columns] = 1.0 / deviation
        scaling[columns, 0] = -mean / deviation
        some = missing > 0
        scaling[columns[some], missing[some]] = (mean / deviation)[some]
        return scaling

    def scaled(self, scaling: FloatArray, parameters: FloatArray) -> FloatArray:
        """The parameters of scaled columns that mean the same: ``t`` with ``M' t = parameters``, shape ``(width,)``."""
        result = parameters.copy()
        if self.numeric:
            columns, _ = self._numeric()
            result[columns] = 0.0
            slopes = parameters[columns] / scaling[columns, columns]
            result -= slopes @ scaling[columns]
            result[columns] = slopes
        return result

    def _numeric(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return _places(self.numeric), _places(self.missing)

    def columns(self, scaling: FloatArray, x: FloatArray, prior: ArrayLike) -> FloatArray:
        """The scaled columns of ``n`` candidates, shape ``(width, n)``, or ``(width,)`` if all have the same.

        What is in a candidate's column depends on that candidate alone, bit for bit.
        """
        z = np.zeros(self.width)
        z[0] = 1.0
        z[1 : self.common] = x
        if not self.propensity:
            return scaling @ z
        prior = np.asarray(prior, dtype=np.float64)
        none = np.isnan(prior)
        each = np.empty((self.width, len(prior)))
        each[: self.common] = (scaling[: self.common, : self.common] @ z[: self.common])[:, None]
        at = self.common
        each[at] = 0.0
        each[at + 1] = none
        if not none.all():
            known = logit(np.where(none, 0.5, prior)) * (scaling[at, at] / LOGIT_SCALE) + scaling[at, 0]
            each[at] = np.where(none, 0.0, known)
        return each
