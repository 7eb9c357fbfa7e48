r"""Bayesian regression on additive sums: the state of an arm, and the posterior that follows from it.

An arm's state is ``[n, sum r, sum r^2, A, b]`` with ``A = sum w z z'`` (its upper triangle) and ``b = sum w y z``,
where ``z`` are the columns of an observation (see ``bandits.regression.design``), ``w`` its weight and ``y`` its
response. All that an arm learns is also added to one arm for all offers, so the model of all offers together, and the
means and variances of columns, come free.

With a prior :math:`\theta_o \sim N(c, \mathrm{diag}(\tau)^{-1})` on an offer's parameters, the posterior has

.. math::  S_o = (A_o + \mathrm{diag}(\tau))^{-1}, \qquad  \hat\theta_o = S_o (b_o + \tau c)

up to the variance of the noise. What an offer's parameters are centred at, ``c``, is (parameter ``share``):

``none``
    the fixed prior: every offer learns alone (*disjoint*).
``shrink``
    the parameters of all offers together, themselves estimated from the shared sums with the fixed prior: a
    hierarchical model, in which a new offer starts from what offers are like, and departs from it with evidence
    (Gelman and Hill, *Data Analysis Using Regression and Multilevel/Hierarchical Models*, 2007, chapter 12).
``all``
    the same, but slopes are held to the shared ones, and only the intercept is the offer's own.

That the shared parameters are uncertain themselves is not counted: it moves all offers alike, and so no choice.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bandits import compiled
from bandits.exact_math import apply_factors, invert_factors, multiply, sum_rows
from bandits.policy import QUANTUM, FloatArray, Sums
from bandits.regression.design import CandidateColumns, Design, Scale

Share = Literal["none", "shrink", "all"]
HOLDING_PRECISION = 1e6
"""The precision that holds a parameter to what it is centred at."""


@dataclass(frozen=True)
class Layout:
    """The layout of an arm's state with ``columns`` columns."""

    columns: int

    @cached_property
    def upper(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the upper triangle."""
        rows, columns = np.triu_indices(self.columns)
        return rows, columns

    @cached_property
    def square(self) -> NDArray[np.intp]:
        """The position of each element of ``A`` in a state: shape ``(D, D)``."""
        rows, columns = self.upper
        places = np.empty((self.columns, self.columns), dtype=np.intp)
        places[rows, columns] = places[columns, rows] = 3 + np.arange(len(rows))
        return places

    @property
    def width(self) -> int:
        """The number of float64 in a state."""
        return 3 + self.columns * (self.columns + 3) // 2

    def contribution(
        self, z: FloatArray, weight: float, weighted_response: float, reward: float
    ) -> FloatArray:
        """Return the amounts that one observation adds: ``(1, r, r^2, w z z', w y z)``."""
        rows, columns = self.upper
        return np.concatenate(
            ([1.0, reward, reward * reward], weight * z[rows] * z[columns], weighted_response * z)
        )

    def contributions(
        self, z: FloatArray, weight: FloatArray, weighted_response: FloatArray, rewards: FloatArray
    ) -> FloatArray:
        """Return what ``m`` observations add, as ``contribution`` gives it: shape ``(m, width)``."""
        rows, columns = self.upper
        ones, products = np.ones(len(z)), weight[:, None] * z[:, rows] * z[:, columns]
        return np.column_stack((ones, rewards, rewards * rewards, products, weighted_response[:, None] * z))

    def read(self, sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ``A`` and ``b`` of states of shape ``(..., width)``: shapes ``(..., D, D)`` and ``(..., D)``."""
        a: FloatArray = sums.take(self.square, axis=-1)
        return a, sums[..., -self.columns :]

    def offset_rounding(self, a: FloatArray, count: FloatArray | np.float64) -> None:
        """Make up for the rounding of contributions in matrices of shape ``(..., D, D)``, in place.

        Each of ``count`` contributions is off by half a ``QUANTUM`` an element at most, and so what is never negative
        may become so where a column hardly varies. The largest such error is added to the diagonal.
        """
        diagonals = a.reshape(-1, self.columns**2)[:, :: self.columns + 1]
        diagonals += (count * (self.columns * QUANTUM / 2.0)).reshape(-1, 1)


@dataclass(frozen=True, slots=True)
class Prior:
    """The prior of parameters, before anything is observed.

    ``mean``: parameters of the columns, shape ``(D,)``. ``precision``: of parameters of scaled columns around it.
    ``deviation``: precision of an offer's parameters around the shared ones, for scaled columns.
    """

    mean: FloatArray
    precision: FloatArray
    deviation: FloatArray
    share: Share


@dataclass(frozen=True, slots=True)
class ScaledPrior:
    """The prior on a scale: precision matrices for unscaled columns, shape ``(D, D)``.

    ``shared``: of the shared parameters around the prior's mean; ``pull``: that matrix times the mean. ``own``: of an
    offer's parameters around what they are centred at.
    """

    scale: Scale
    shared: FloatArray
    pull: FloatArray
    own: FloatArray


@dataclass(frozen=True, slots=True)
class Posterior:
    """The posteriors of ``n`` offers, with the offers along the last axis.

    ``own``: the sums they follow from, ``(n, width)``. ``scaled``: the prior that they were made with. ``pull``:
    ``T c``, with ``T`` the precision around what parameters are centred at, ``(D,)``. ``factors``: lower triangular
    ``W`` with ``S = W' W``, columns first (see ``bandits.exact_math``), ``(D, D, n)``; ``response``: ``b``, and
    ``weights``: ``W (b + T c)``, ``(D, n)`` each.
    """

    own: FloatArray
    scaled: ScaledPrior
    pull: FloatArray
    factors: FloatArray
    response: FloatArray
    weights: FloatArray

    def project(self, z: CandidateColumns) -> FloatArray:
        """Return ``W z``: shape ``(D, n)``. An offer's column does not depend on how many there are."""
        return apply_factors(self.factors, z.common, z.own)

    def predict(self, z: CandidateColumns, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the mean and the standard deviation of the linear predictor: shape ``(n,)`` each."""
        kernels = compiled.kernels
        if kernels is None:
            projected = self.project(z)
            return self.mean(projected), np.sqrt(self.variance(projected) * noise)
        mean, deviation = np.empty(len(noise)), np.empty(len(noise))
        kernels.predict(self.factors, self.weights, noise, z.common, z.own, mean, deviation)
        return mean, deviation

    def mean(self, projected: FloatArray) -> FloatArray:
        """Return the expected linear predictor, ``z' S (b + T c)``: shape ``(n,)``."""
        return sum_rows(projected * self.weights)

    def variance(self, projected: FloatArray) -> FloatArray:
        """Return the variance of the linear predictor, ``z' S z``, in units of the noise: shape ``(n,)``."""
        return sum_rows(projected * projected)


class Regression:
    """Computes posteriors from sums, for a design and a prior.

    Columns enter as they are. That parameters of *scaled* columns have the prior ``N(c, diag(tau)^-1)`` is said by its
    precision matrix for the others, ``M^-1 diag(tau) M^-T`` where ``M`` scales: so neither sums nor candidates are ever
    scaled, and the matrix is made anew only when the scale changes.
    """

    def __init__(self, design: Design, prior: Prior) -> None:
        self.design = design
        self.prior = prior
        self.layout = Layout(design.width)
        held = np.where(np.arange(design.width) == 0, prior.deviation, HOLDING_PRECISION)
        own = {"none": prior.precision, "shrink": prior.deviation, "all": held}
        self._tau = own[prior.share]

    def prepare(self, sums: Sums) -> Posterior:
        """Compute the posteriors of all offers of ``sums``."""
        d, n = self.design.width, len(sums.offers)
        scaled = self._scaled(self.layout.read(sums.shared)[0], None)
        empty = Posterior(
            sums.own.copy(), scaled, np.empty(d), np.empty((d, d, n)), np.empty((d, n)), np.empty((d, n))
        )
        return self._fill(empty, sums.shared, np.arange(n))

    def refresh(self, posterior: Posterior, sums: Sums, rows: NDArray[np.intp]) -> Posterior:
        """Return what ``prepare`` would if only ``rows`` and the shared sums changed; arrays are reused."""
        scaled = self._scaled(self.layout.read(sums.shared)[0], posterior.scaled)
        posterior.own[rows] = sums.own[rows]
        # A new scale changes the prior of every offer; the shared centre enters by ``pull`` and needs no new factors.
        every = scaled is not posterior.scaled
        return self._fill(
            replace(posterior, scaled=scaled), sums.shared, np.arange(len(sums.offers)) if every else rows
        )

    def _fill(self, posterior: Posterior, shared: FloatArray, rows: NDArray[np.intp]) -> Posterior:
        """Factor ``rows`` anew and return the posterior with the centre that follows from the shared sums."""
        scaled = posterior.scaled
        a, b = self.layout.read(posterior.own[rows])
        a += scaled.own  # ``read`` copies: the sums stay as they are
        self.layout.offset_rounding(a, posterior.own[rows, 0])
        pulls = self.prior.share != "none"
        if pulls:  # the matrix of all offers together is factored beside theirs
            a = np.concatenate((a, self._shared_precision(shared, scaled)))
        factors, _ = invert_factors(a.transpose(1, 2, 0))
        posterior.factors[:, :, rows] = factors[:, :, : len(rows)]
        posterior.response[:, rows] = b.T
        centre = self.prior.mean
        if pulls:
            centre = _solve(factors[:, :, -1], self.layout.read(shared)[1] + scaled.pull)
        pull = multiply(scaled.own, centre)
        weights = apply_factors(posterior.factors, pull[:0], posterior.response + pull[:, None])
        return replace(posterior, pull=pull, weights=weights)

    def scaled_prior(self, shared: FloatArray, before: ScaledPrior | None = None) -> ScaledPrior:
        """Return the prior on the scale that shared sums say; ``before`` itself if that is its scale."""
        return self._scaled(self.layout.read(shared)[0], before)

    def _shared_precision(self, shared: FloatArray, scaled: ScaledPrior) -> FloatArray:
        """Return the precision matrix of the shared parameters: shape ``(1, D, D)``."""
        a, _ = self.layout.read(shared[None])
        a += scaled.shared
        self.layout.offset_rounding(a, shared[:1])
        return a

    def _scaled(self, moments: FloatArray, before: ScaledPrior | None) -> ScaledPrior:
        if before is not None and not self.design.numeric:
            return before
        scale = self.design.scale(moments)
        if before is not None and scale.is_same(before.scale):
            return before
        unscaling = self.design.unscaling(scale)
        shared = multiply(unscaling * self.prior.precision, unscaling.T)
        own = multiply(unscaling * self._tau, unscaling.T)
        return ScaledPrior(scale, shared, multiply(shared, self.prior.mean), own)


def _solve(factors: FloatArray, b: FloatArray) -> FloatArray:
    """Return ``A^-1 b`` from the factors of one matrix, columns first: ``(D, D)``."""
    return multiply(factors, multiply(factors.T, b))
