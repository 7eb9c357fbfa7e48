r"""Bayesian regression on additive sums: what an arm keeps, and the posterior that follows from it.

An arm's state is ``[n, sum r, sum r^2, A, b]`` with ``A = sum w z z'`` (its upper triangle) and ``b = sum w y z``,
where ``z`` are the columns of an observation (see ``bandits.design``), ``w`` its weight and ``y`` its response. All
that an arm learns is also added to one arm for all offers, so the model of all offers together, and the means
and variances of columns, come free.

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

from bandits.design import Design
from bandits.policy import FloatArray, Sums

Share = Literal["none", "shrink", "all"]
HELD = 1e6
"""The precision that holds a parameter to what it is centred at."""


@dataclass(frozen=True)
class Layout:
    """Where things are in the state of an arm with ``columns`` columns."""

    columns: int

    @cached_property
    def upper(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the upper triangle."""
        rows, columns = np.triu_indices(self.columns)
        return rows, columns

    @cached_property
    def square(self) -> NDArray[np.intp]:
        """Where each element of ``A`` is: shape ``(D, D)``."""
        rows, columns = self.upper
        places = np.empty((self.columns, self.columns), dtype=np.intp)
        places[rows, columns] = places[columns, rows] = 3 + np.arange(len(rows))
        return places

    @property
    def width(self) -> int:
        """How many numbers there are."""
        return 3 + self.columns * (self.columns + 3) // 2

    def contribution(
        self, z: FloatArray, weight: float, weighted_response: float, reward: float
    ) -> FloatArray:
        """What one observation adds: ``(1, r, r^2, w z z', w y z)``."""
        rows, columns = self.upper
        return np.concatenate(
            ([1.0, reward, reward * reward], weight * z[rows] * z[columns], weighted_response * z)
        )

    def read(self, sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``A`` and ``b`` of states of shape ``(..., width)``: shapes ``(..., D, D)`` and ``(..., D)``."""
        a: FloatArray = sums.take(self.square, axis=-1)
        return a, sums[..., -self.columns :]


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed before anything is observed.

    ``mean``: parameters of the columns as they are (not scaled), shape ``(D,)``. ``precision``: of parameters of scaled
    columns around it. ``deviation``: precision of an offer's parameters around the shared ones.
    """

    mean: FloatArray
    precision: FloatArray
    deviation: FloatArray
    share: Share


@dataclass(frozen=True, slots=True)
class Posterior:
    """The posteriors of ``n`` offers, with the offers along the last axis.

    ``own``: the sums they follow from, ``(n, width)``. ``scaling``: see ``Design.scaling``. ``pull``: ``tau c``,
    ``(D,)``. ``covariance``: ``S``, ``(D, D, n)``; ``response``: ``b``, ``(D, n)``.
    """

    own: FloatArray
    scaling: FloatArray
    pull: FloatArray
    covariance: FloatArray
    response: FloatArray

    def project(self, z: FloatArray) -> FloatArray:
        """``S z`` for columns of shape ``(D,)`` or ``(D, n)``: shape ``(D, n)``."""
        # Plain einsum adds up element by element along the offers: no result depends on how many there are.
        each = "jin,j->in" if z.ndim == 1 else "jin,jn->in"
        projected: FloatArray = np.einsum(each, self.covariance, z, optimize=False)
        return projected

    def mean(self, projected: FloatArray) -> FloatArray:
        """The expected linear predictor: shape ``(n,)``."""
        return _dot(projected, self.response + self.pull[:, None])

    def variance(self, projected: FloatArray, z: FloatArray) -> FloatArray:
        """The variance of the linear predictor, in units of the noise: shape ``(n,)``, not negative."""
        variance: FloatArray = np.maximum(_dot(projected, z), 0.0)
        return variance


class Regression:
    """Posteriors from sums, for a design and a prior."""

    def __init__(self, design: Design, prior: Prior) -> None:
        self.design = design
        self.prior = prior
        self.layout = Layout(design.width)
        held = np.where(np.arange(design.width) == 0, prior.deviation, HELD)
        own = {"none": prior.precision, "shrink": prior.deviation, "all": held}
        self._tau = own[prior.share]

    def prepare(self, sums: Sums) -> Posterior:
        """The posteriors of all offers of ``sums``."""
        scaling, pull = self._shared(sums.shared)
        d, n = self.design.width, len(sums.offers)
        posterior = Posterior(sums.own.copy(), scaling, pull, np.empty((d, d, n)), np.empty((d, n)))
        self._fill(posterior, np.arange(n))
        return posterior

    def refresh(self, posterior: Posterior, sums: Sums, rows: NDArray[np.intp]) -> Posterior:
        """The same, given that only ``rows`` and the shared sums changed; arrays are reused."""
        scaling, pull = self._shared(sums.shared)
        posterior.own[rows] = sums.own[rows]
        changed = replace(posterior, scaling=scaling, pull=pull)
        same = np.array_equal(scaling, posterior.scaling)
        self._fill(changed, rows if same else np.arange(len(sums.offers)))
        return changed

    def _fill(self, posterior: Posterior, rows: NDArray[np.intp]) -> None:
        a, b = self._scaled(posterior.own[rows], posterior.scaling)
        diagonal = np.arange(self.design.width)
        a[:, diagonal, diagonal] += self._tau
        posterior.covariance[:, :, rows] = np.linalg.inv(a).transpose(1, 2, 0)
        posterior.response[:, rows] = b.T

    def _scaled(self, sums: FloatArray, scaling: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``A`` and ``b`` for scaled columns."""
        a, b = self.layout.read(sums)
        if not self.design.numeric:
            return a, b
        return scaling @ a @ scaling.T, (scaling @ b[..., None])[..., 0]

    def _shared(self, shared: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The scaling, and ``tau c``."""
        a, b = self.layout.read(shared)
        scaling = self.design.scaling(a)
        centre = self.design.scaled(scaling, self.prior.mean)
        if self.prior.share != "none":
            a, b = self._scaled(shared, scaling)
            precision = self.prior.precision
            centre = _solved(a + np.diag(precision), b + precision * centre)
        return scaling, self._tau * centre


def _solved(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.linalg.solve(a, b).astype(np.float64, copy=False)


def _dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """``sum_i a[i] b[i]`` along the first axis, each offer for itself; ``b``: shape ``(D, n)``, or ``(D,)`` for all."""
    if a.shape[1] != 1:
        each = "in,i->n" if b.ndim == 1 else "in,in->n"
        total: FloatArray = np.einsum(each, a, b, optimize=False)
        return total
    # With a single offer numpy would add up in another order.
    return _dot(np.repeat(a, 2, axis=1), b if b.ndim == 1 else np.repeat(b, 2, axis=1))[:1]
