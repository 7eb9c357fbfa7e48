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

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

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
    ``T c``, with ``T`` the precision around what parameters are centred at, ``(D,)``. ``covariance``: ``S``,
    ``(D, D, n)``; ``response``: ``b``, ``(D, n)``.
    """

    own: FloatArray
    scaled: ScaledPrior
    pull: FloatArray
    covariance: FloatArray
    response: FloatArray

    def project(self, z: CandidateColumns) -> FloatArray:
        """Return ``S z``: shape ``(D, n)``."""
        # Plain einsum adds up element by element along the offers: no result depends on how many there are.
        k = len(z.common)
        projected: FloatArray = np.einsum("jin,j->in", self.covariance[:k], z.common)
        if z.own is not None:
            projected += np.einsum("jin,jn->in", self.covariance[k:], z.own)
        return projected

    def mean(self, projected: FloatArray) -> FloatArray:
        """Return the expected linear predictor: shape ``(n,)``."""
        return _dot_by_offer(projected, self.response + self.pull[:, None])

    def variance(self, projected: FloatArray, z: CandidateColumns) -> FloatArray:
        """Return the variance of the linear predictor, in units of the noise: shape ``(n,)``, not negative."""
        k = len(z.common)
        variance = _dot_by_offer(projected[:k], z.common)
        if z.own is not None:
            variance += _dot_by_offer(projected[k:], z.own)
        return np.maximum(variance, 0.0)


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
        scaled, pull = self._shared(sums.shared, None)
        d, n = self.design.width, len(sums.offers)
        posterior = Posterior(sums.own.copy(), scaled, pull, np.empty((d, d, n)), np.empty((d, n)))
        self._fill(posterior, np.arange(n))
        return posterior

    def refresh(self, posterior: Posterior, sums: Sums, rows: NDArray[np.intp]) -> Posterior:
        """Return what ``prepare`` would if only ``rows`` and the shared sums changed; arrays are reused."""
        scaled, pull = self._shared(sums.shared, posterior.scaled)
        posterior.own[rows] = sums.own[rows]
        changed = Posterior(posterior.own, scaled, pull, posterior.covariance, posterior.response)
        # A new scale changes the prior of every offer; the shared centre enters by ``pull`` and needs no new inverse.
        self._fill(changed, rows if scaled is posterior.scaled else np.arange(len(sums.offers)))
        return changed

    def _fill(self, posterior: Posterior, rows: NDArray[np.intp]) -> None:
        a, b = self.layout.read(posterior.own[rows])
        a += posterior.scaled.own  # ``read`` copies: the sums stay as they are
        self.layout.offset_rounding(a, posterior.own[rows, 0])
        posterior.covariance[:, :, rows] = np.linalg.inv(a).transpose(1, 2, 0)
        posterior.response[:, rows] = b.T

    def _shared(self, shared: FloatArray, before: ScaledPrior | None) -> tuple[ScaledPrior, FloatArray]:
        """Return the prior on the present scale (``before`` if that has not changed), and ``T c``."""
        a, b = self.layout.read(shared)
        scaled = self._scaled(a, before)
        centre = self.prior.mean
        if self.prior.share != "none":
            a += scaled.shared
            self.layout.offset_rounding(a, shared[0])
            centre = _solve_positive_definite(a, b + scaled.pull)
        return scaled, scaled.own @ centre

    def _scaled(self, moments: FloatArray, before: ScaledPrior | None) -> ScaledPrior:
        if before is not None and not self.design.numeric:
            return before
        scale = self.design.scale(moments)
        if before is not None and scale.is_same(before.scale):
            return before
        unscaling = self.design.unscaling(scale)
        shared = unscaling * self.prior.precision @ unscaling.T
        return ScaledPrior(scale, shared, shared @ self.prior.mean, unscaling * self._tau @ unscaling.T)


def _solve_positive_definite(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return ``a^-1 b`` for a positive definite matrix, which is overwritten."""
    _, solution, info = dposv(a.T, b, overwrite_a=True)  # LAPACK takes columns first; the matrix is symmetric
    if info:
        raise np.linalg.LinAlgError(f"not positive definite: leading minor {info}")
    return np.asarray(solution)


def _dot_by_offer(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return ``sum_i a[i] b[i]`` along the first axis for each offer; ``b``: shape ``(D, n)``, or ``(D,)`` for all."""
    if a.shape[1] != 1:
        total: FloatArray = np.einsum("in,i->n" if b.ndim == 1 else "in,in->n", a, b)
        return total
    # With a single offer numpy would add up in another order.
    return _dot_by_offer(np.repeat(a, 2, axis=1), b if b.ndim == 1 else np.repeat(b, 2, axis=1))[:1]
