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

Where offers have groups and ``Prior.group`` is given, there is a level between: a group's parameters are estimated from
the sums of its offers, around ``c`` and so many times as firmly as an offer's own are held, and an offer's are centred
at its group's. That those are uncertain is not counted either: drawing groups as well earned no more
(``docs/learning.md``).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bandits import compiled
from bandits.exact_math import (
    apply_factors,
    apply_transposed_factors,
    invert_factors,
    multiply,
    sum_rows,
)
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

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """The positions of the first row of ``A``: shape ``(D,)``."""
        first: NDArray[np.intp] = self.square[0].copy()
        return first

    @cached_property
    def diagonal(self) -> NDArray[np.intp]:
        """The positions of the diagonal of ``A``: shape ``(D,)``."""
        return self.square.diagonal().copy()

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
    ``deviation``: precision of an offer's parameters around what they are centred at, for scaled columns. ``group``:
    the precision of a group's parameters around the shared ones, in multiples of that; ``None`` without groups.
    """

    mean: FloatArray
    precision: FloatArray
    deviation: FloatArray
    share: Share
    group: float | None = None


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
class Groups:
    """The models of ``g`` groups of offers.

    ``sums``: those that they follow from, ``(g, width)``. ``row``: of each offer's group, -1 for an offer without one.
    ``factors``: as of offers, ``(D, D, g)``.
    """

    sums: FloatArray
    row: NDArray[np.intp]
    factors: FloatArray


@dataclass(frozen=True, slots=True)
class Centres:
    """What offers' parameters are centred at by a prior: those of all offers together, or of each one's group.

    ``scaled``: the prior on the scale of columns. ``pull``: ``T c``, with ``T`` the precision around the centre,
    ``(D, 1)``, or with groups that of each group and last that of all offers, ``(D, g + 1)``. ``groups``: ``None``
    where offers have none.
    """

    scaled: ScaledPrior
    pull: FloatArray
    groups: Groups | None = None

    def by_offer(self, of_centres: FloatArray) -> FloatArray:
        """Spread what belongs to centres, ``(..., g + 1)``, to offers: ``(..., n)``; without groups ``(..., 1)``."""
        return of_centres if self.groups is None else of_centres[..., self.groups.row]


@dataclass(frozen=True, slots=True)
class Posterior:
    """The posteriors of ``n`` offers, with the offers along the last axis.

    ``own``: the sums they follow from, ``(n, width)``. ``factors``: lower triangular ``W`` with ``S = W' W``, columns
    first (see ``bandits.exact_math``), ``(D, D, n)``; ``response``: ``b``, and ``weights``: ``W (b + T c)``, ``(D, n)``
    each.
    """

    own: FloatArray
    factors: FloatArray
    response: FloatArray
    weights: FloatArray

    @classmethod
    def empty(cls, own: FloatArray, columns: int) -> "Posterior":
        """Make room for the posteriors of these sums, which are copied."""
        d, n = columns, len(own)
        return cls(own.copy(), np.empty((d, d, n)), np.empty((d, n)), np.empty((d, n)))

    def put(self, layout: Layout, precision: FloatArray, rows: NDArray[np.intp]) -> None:
        """Factor ``rows`` anew from their sums and the precision of the prior: ``(D, D)``, or ``(m, D, D)`` of each.

        Weights are left as they are, since they depend on centres: ``weighted`` is to follow.
        """
        a, b = layout.read(self.own[rows])
        a += precision  # ``read`` copies: the sums stay as they are
        layout.offset_rounding(a, self.own[rows, 0])
        self.factors[:, :, rows] = invert_factors(a.transpose(1, 2, 0))[0]
        self.response[:, rows] = b.T

    def weighted(self, pull: FloatArray) -> "Posterior":
        """Return it with the weights that follow from ``T c`` of each offer: ``(D, n)``, or ``(D, 1)`` of all."""
        return replace(self, weights=apply_factors(self.factors, np.empty(0), self.response + pull))

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


@dataclass(frozen=True, slots=True)
class Fit:
    """The posteriors of ``n`` offers by one prior, and what they are centred at."""

    posterior: Posterior
    centres: Centres


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

    def prepare(self, sums: Sums) -> Fit:
        """Compute the posteriors of all offers of ``sums``."""
        empty, every = Posterior.empty(sums.own, self.design.width), np.arange(len(sums.offers))
        return self._fit(empty, self.centres(sums), every)

    def refresh(self, before: Fit, sums: Sums, rows: NDArray[np.intp]) -> Fit:
        """Return what ``prepare`` would if only ``rows`` and the shared sums changed; arrays are reused.

        Of groups, too, only the sums may have changed.
        """
        centres = self.centres(sums, before.centres)
        before.posterior.own[rows] = sums.own[rows]
        # A new scale changes the prior of every offer; a centre enters by ``pull`` and needs no new factors.
        if centres.scaled is not before.centres.scaled:
            rows = np.arange(len(sums.offers))
        return self._fit(before.posterior, centres, rows)

    def _fit(self, posterior: Posterior, centres: Centres, rows: NDArray[np.intp]) -> Fit:
        posterior.put(self.layout, centres.scaled.own, rows)
        return Fit(posterior.weighted(centres.by_offer(centres.pull)), centres)

    def centres(self, sums: Sums, before: Centres | None = None, scale: Scale | None = None) -> Centres:
        """Return what offers are centred at; of ``before``, what is still the same is reused.

        ``scale``: that of another model of the same columns and sums, if there is one.
        """
        scaled = self.scaled_prior(sums.shared, None if before is None else before.scaled, scale)
        if before is not None and scaled is not before.scaled:
            before = None
        groups, changed = self._changed_groups(None if before is None else before.groups, sums)
        centre = self.prior.mean
        if self.prior.share != "none":
            factors, _ = invert_factors(self._shared_precision(sums.shared, scaled).transpose(1, 2, 0))
            centre = _solve(factors[:, :, 0], self.layout.read(sums.shared)[1] + scaled.pull)
        pull = multiply(scaled.own, centre)[:, None]
        if groups is not None:
            matrices = self._group_precision(groups.sums[changed], scaled)
            groups.factors[:, :, changed] = invert_factors(matrices.transpose(1, 2, 0))[0]
            pull = np.concatenate((self._group_pulls(groups, pull, scaled), pull), axis=1)
        return Centres(scaled, pull, groups)

    def _changed_groups(self, before: Groups | None, sums: Sums) -> tuple[Groups | None, NDArray[np.intp]]:
        """Return the groups with their present sums, and the rows of those that have to be factored anew."""
        now = sums.by_group
        if now is None or self.prior.group is None or self.prior.share == "none":
            return None, np.arange(0)
        if before is None:
            d, count = self.design.width, len(now.sums)
            return Groups(now.sums, now.row, np.empty((d, d, count))), np.arange(count)
        return replace(before, sums=now.sums), np.flatnonzero((before.sums != now.sums).any(axis=1))

    def _group_precision(self, sums: FloatArray, scaled: ScaledPrior) -> FloatArray:
        """Return the precision matrices of groups' parameters: shape ``(g, D, D)``."""
        assert self.prior.group is not None
        a, _ = self.layout.read(sums)
        a += self.prior.group * scaled.own
        self.layout.offset_rounding(a, sums[:, 0])
        return a

    def _group_pulls(self, groups: Groups, pull: FloatArray, scaled: ScaledPrior) -> FloatArray:
        """Return ``T c`` of each group's centre: shape ``(D, g)``. ``pull``: that of the shared one, ``(D, 1)``."""
        assert self.prior.group is not None
        response = self.layout.read(groups.sums)[1].T + self.prior.group * pull
        whitened = apply_factors(groups.factors, pull[:0, 0], response)
        return multiply(scaled.own, apply_transposed_factors(groups.factors, whitened))

    def scaled_prior(
        self, shared: FloatArray, before: ScaledPrior | None = None, scale: Scale | None = None
    ) -> ScaledPrior:
        """Return the prior on ``scale``, or on the one that shared sums say; ``before`` itself if that is its scale."""
        if before is not None and not self.design.numeric:
            return before
        if scale is None:
            scale = self.design.scale(shared[self.layout.first], shared[self.layout.diagonal])
        if before is not None and scale.is_same(before.scale):
            return before
        unscaling = self.design.unscaling(scale)
        precision = multiply(unscaling * self.prior.precision, unscaling.T)
        own = multiply(unscaling * self._tau, unscaling.T)
        return ScaledPrior(scale, precision, multiply(precision, self.prior.mean), own)

    def _shared_precision(self, shared: FloatArray, scaled: ScaledPrior) -> FloatArray:
        """Return the precision matrix of the shared parameters: shape ``(1, D, D)``."""
        a, _ = self.layout.read(shared[None])
        a += scaled.shared
        self.layout.offset_rounding(a, shared[:1])
        return a


def _solve(factors: FloatArray, b: FloatArray) -> FloatArray:
    """Return ``A^-1 b`` from the factors of one matrix, columns first: ``(D, D)``."""
    return multiply(factors, multiply(factors.T, b))
