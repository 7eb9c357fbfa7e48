r"""A classifier of the caller's own choices by the features of a request, made of exact additive sums.

Regularised discriminant analysis (Friedman, *Regularized discriminant analysis*, JASA 84, 1989): the requests for
which the caller chose the offer ``a`` are taken to be normal around their mean, with a covariance of their own that is
shrunk to a common diagonal one. With ``x`` a request's features and ``n_a`` the number of choices, the score is

.. math::  \log n_a - \tfrac12 \log |S_a| - \tfrac12 (x - \mu_a)' S_a^{-1} (x - \mu_a), \qquad
    S_a = \frac{n_a C_a + k D}{n_a + k} + \phi D + \rho I

where ``C_a`` is the covariance of those requests, and ``D`` holds the variances of the columns over *all* of the
caller's choices, and ``rho`` is the most that the rounding of contributions can have taken from a covariance. An
offer's part needs nothing but the sum of ``z z'``, ``z = [1, x]``, over the requests that it was
chosen for: its first row holds their number and the sum of ``x``. So a choice is one contribution to the offer that
was chosen, and offers that were not need not be known.

Least-squares classification of indicators (Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning*,
2nd ed., 4.2) needs the same sums, but a choice that lies between two others on a number ("silver from 30 to 50") is
hidden by them for ever, and pairs of categories are not seen without a declared cross. Both are what callers' rules
are made of.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bandits.exact_math import (
    LOG2_E,
    apply_factors,
    apply_transposed_factors,
    inverses_of_factors,
    invert_factors,
    log,
    sum_rows,
)
from bandits.feature_columns import MAX_COLUMN_VALUE
from bandits.policy import QUANTUM, BoolArray, FloatArray

SHRINKAGE = 5.0
"""``k``: with so many choices of an offer their own covariance counts as much as the common one."""
VARIANCE_FLOOR = 0.02
"""``phi``: the share of the common variances that is always added. So no rule is taken for quite certain."""
_PRIOR_VARIANCE = 1 / 64
_MIN_VARIANCE = 2.0**-8


@dataclass(frozen=True, slots=True)
class PreparedCallerChoice:
    """The scoring terms of ``n`` offers.

    ``own``: the sums that it follows from, ``(n, width)``. ``spread``: ``D``, ``(d,)``. ``terms``: what each element of
    the upper triangle of ``z z'`` adds to an offer's score, ``(width, n)``. ``chosen``: which offers the caller ever
    chose, ``(n,)``.
    """

    own: FloatArray
    spread: FloatArray
    terms: FloatArray
    chosen: BoolArray


class CallerChoiceModel:
    """The classifier, for ``columns`` columns of a request's features.

    ``width``: how many numbers an arm keeps, the upper triangle of ``z z'``; so does the arm for all offers. ``upper``:
    rows and columns of it; ``square``: where in it each element of ``z z'`` is, ``(d + 1, d + 1)``.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        # An element of z z' is off by half a quantum at most, hence one of a covariance of bounded columns by so much:
        self.rounding = columns * (1.0 + 2.0 * MAX_COLUMN_VALUE) * QUANTUM / 2.0
        self.upper: tuple[NDArray[np.intp], NDArray[np.intp]] = np.triu_indices(columns + 1)
        rows, places = self.upper
        self.width = len(rows)
        self.square: NDArray[np.intp] = np.empty((columns + 1, columns + 1), dtype=np.intp)
        self.square[rows, places] = self.square[places, rows] = np.arange(self.width)

    def contribution(self, x: FloatArray) -> FloatArray:
        """Return the amounts, shape ``(width,)``, that a choice for these features adds to the chosen offer."""
        z = np.concatenate(([1.0], x))
        rows, columns = self.upper
        product: FloatArray = z[rows] * z[columns]
        return product

    def prepare(self, own: FloatArray, shared: FloatArray) -> PreparedCallerChoice:
        """Compute all terms from the sums of offers, ``(n, width)``, and of all choices, ``(width,)``."""
        n = len(own)
        prepared = PreparedCallerChoice(
            own.copy(), self._spread(shared), np.zeros((self.width, n)), np.zeros(n, dtype=np.bool_)
        )
        self._fill(prepared, np.arange(n))
        return prepared

    def refresh(
        self, prepared: PreparedCallerChoice, own: FloatArray, shared: FloatArray, rows: NDArray[np.intp]
    ) -> PreparedCallerChoice:
        """Return what ``prepare`` would if only ``rows`` and the shared sums changed; arrays are reused."""
        changed = replace(prepared, spread=self._spread(shared))
        changed.own[rows] = own[rows]
        same = np.array_equal(changed.spread, prepared.spread)
        self._fill(changed, rows if same else np.arange(len(changed.own)))
        return changed

    def scores(self, prepared: PreparedCallerChoice, x: FloatArray) -> FloatArray:
        """Return each offer's score as the caller's choice: shape ``(n,)``; minus infinity if it was never chosen.

        An offer's score depends on its own sums and on those of all choices, not on the other candidates.
        """
        z = np.concatenate(([1.0], x))
        some = np.flatnonzero(z)  # most columns are indicators
        rows, columns = np.triu_indices(len(some))
        rows, columns = some[rows], some[columns]
        terms = prepared.terms[self.square[rows, columns]]  # a copy
        terms *= (z[rows] * z[columns])[:, None]
        return np.where(prepared.chosen, sum_rows(terms), -np.inf)

    def _spread(self, shared: FloatArray) -> FloatArray:
        """Return ``D``: variances, of which 1/64 counts as seen once, rounded to powers of two."""
        a = shared[self.square]
        n, total, squares = max(float(a[0, 0]), 0.0), a[0, 1:], np.diagonal(a)[1:]
        mean = total / n if n > 0.0 else np.zeros(self.columns)
        variance = (np.maximum(squares - mean * total, 0.0) + _PRIOR_VARIANCE) / (n + 1.0)
        # Rounded, so that they change rarely: a change costs new terms for every offer.
        exponent = np.rint(log(np.maximum(variance, _MIN_VARIANCE)) * LOG2_E)
        return np.ldexp(1.0, exponent.astype(np.int32))

    def _fill(self, prepared: PreparedCallerChoice, rows: NDArray[np.intp]) -> None:
        prepared.chosen[rows] = prepared.own[rows, 0] > 0.0
        prepared.terms[:, rows] = 0.0
        rows = rows[prepared.chosen[rows]]
        if len(rows):
            prepared.terms[:, rows] = self._terms(prepared.own[rows], prepared.spread).T

    def _terms(self, own: FloatArray, spread: FloatArray) -> FloatArray:
        """Return the coefficient of each ``z_i z_j`` in the score, for offers with choices: shape ``(m, width)``."""
        a = own[:, self.square]
        n = a[:, 0, 0]
        mean = a[:, 0, 1:] / n[:, None]
        scatter = a[:, 1:, 1:] - n[:, None, None] * mean[:, :, None] * mean[:, None, :]
        covariance = (scatter + SHRINKAGE * np.diag(spread)) / (n + SHRINKAGE)[:, None, None]
        covariance += np.diag(VARIANCE_FLOOR * spread + self.rounding)
        factors, pivots = invert_factors(covariance.transpose(1, 2, 0))
        scaled = apply_factors(factors, mean[0, :0], mean.T)
        form = np.empty_like(a)
        form[:, 0, 0] = log(n) - 0.5 * (sum_rows(log(pivots)) + sum_rows(scaled * scaled))
        form[:, 0, 1:] = apply_transposed_factors(factors, scaled).T
        form[:, 1:, 1:] = -inverses_of_factors(factors).transpose(2, 0, 1)
        inside = np.arange(1, self.columns + 1)
        form[:, inside, inside] *= 0.5
        upper: FloatArray = form[:, self.upper[0], self.upper[1]]
        return upper
