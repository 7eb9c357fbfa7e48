r"""Features that have to pay: for each offer the model with them is weighed against the model without.

The evidence for a model is the chance that it gives to what was observed, whatever its parameters are. With the sums
``A`` and ``b`` of an offer, and the prior ``N(c, T^-1)`` on its parameters, its logarithm is

.. math::  \tfrac12 \log|T| - \tfrac12 \log|A + T|
           + \tfrac12 (b + T c)' (A + T)^{-1} (b + T c) - \tfrac12 c' T c

up to a constant that both models share (MacKay, *Bayesian interpolation*, Neural Computation 4, 1992). A model with
many slopes spreads its chances, so it loses where slopes explain nothing. An offer's model is that of the higher
evidence; ``LEAD`` is what features are given beforehand. It depends on the offer's own sums and the shared ones alone,
and sums hold all that both models need, so what does not pay today may do so tomorrow. Where evidence is pooled
(``pooled_evidence``), what the outcomes of all offers say counts beside, up to ``MAX_POOLED`` either way; and where the
pool also gives each offer's own part (``Sums.evidence``), that takes the place of the evidence of the two posteriors.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bandits.exact_math import apply_factors, invert_factors, log_determinants, sum_rows
from bandits.policy import BoolArray, FloatArray, Sums
from bandits.regression.posterior import HOLDING_PRECISION, Centres, Fit, Posterior, Regression

LEAD = 1e-3
"""The log odds of features, for each offer, before anything is observed: as good as none, but ties go to features.

More, even 1, would be kept for thousands of outcomes where few are accepted: they say little against slopes.
"""

MAX_POOLED = 3.0
"""The most that pooled evidence adds to an offer's log odds of features, or takes away: as a factor of 20 in chances.

So an offer whose own outcomes are clearer than that goes by them, whatever others are like.
"""


@dataclass(frozen=True, slots=True)
class Weighed:
    """The posteriors of ``n`` offers, each by one of two models.

    ``pays``, shape ``(n,)``: whether an offer's model is the one with features. ``posterior``: that of each offer's
    model. ``basis``: what a refresh goes on from: what offers are centred at by both models, with features first; or
    both models' posteriors, where they tell the evidence.
    """

    pays: BoolArray
    posterior: Posterior
    basis: "tuple[Centres, Centres] | BothModels"


@dataclass(frozen=True, slots=True)
class BothModels:
    """The posteriors of all offers by both models.

    ``determinants``, shape ``(2, n)``: the log determinants of their covariances, with and without features.
    """

    with_features: Fit
    without: Fit
    determinants: FloatArray


class FeatureWeighing:
    """Computes posteriors by two models, and chooses between them for each offer.

    ``regression``: the model with features. ``columns``: which of its columns are features' own.
    """

    def __init__(self, regression: Regression, columns: slice) -> None:
        prior = regression.prior
        precision, deviation = prior.precision.copy(), prior.deviation.copy()
        # Slopes that are held to their mean, 0, are no slopes.
        precision[columns] = deviation[columns] = HOLDING_PRECISION
        without = Regression(regression.design, replace(prior, precision=precision, deviation=deviation))
        self._models = regression, without
        self._layout = regression.layout

    def prepare(self, sums: Sums) -> Weighed:
        """Compute the posteriors of all offers."""
        every = np.arange(len(sums.offers))
        posterior = Posterior.empty(sums.own, self._layout.columns)
        if sums.evidence is not None:
            centres = self._centres(sums, None, None)
            return self._by_evidence(posterior, centres, _pays(sums.evidence, sums), every)
        one, other = (model.prepare(sums) for model in self._models)
        determinants = np.array([log_determinants(fit.posterior.factors) for fit in (one, other)])
        both = BothModels(one, other, determinants)
        return self._by_posteriors(posterior, both, _pays(_lead(both), sums), every)

    def refresh(self, before: Weighed, sums: Sums, rows: NDArray[np.intp]) -> Weighed:
        """Return what ``prepare`` would if only ``rows`` and the shared sums changed; arrays are reused."""
        basis = before.basis
        if isinstance(basis, BothModels):
            return self._refresh_both(before, basis, sums, rows)
        assert sums.evidence is not None
        centres = self._centres(sums, *basis)
        pays = _pays(sums.evidence, sums)
        before.posterior.own[rows] = sums.own[rows]
        same = all(new.scaled is old.scaled for new, old in zip(centres, basis, strict=True))
        return self._by_evidence(before.posterior, centres, pays, _changed(before, pays, rows, same))

    def _centres(
        self, sums: Sums, with_features: Centres | None, without: Centres | None
    ) -> tuple[Centres, Centres]:
        """Return what offers are centred at by both models; reuses what is the same as before."""
        one = self._models[0].centres(sums, with_features)
        return one, self._models[1].centres(sums, without, one.scaled.scale)

    def _by_evidence(
        self, posterior: Posterior, centres: tuple[Centres, Centres], pays: BoolArray, rows: NDArray[np.intp]
    ) -> Weighed:
        """Compute ``rows`` by the model of each offer, which is known beforehand: the other one is not needed."""
        with_features, without = centres
        precision = np.where(pays[rows, None, None], with_features.scaled.own, without.scaled.own)
        posterior.put(self._layout, precision, rows)
        pull = np.where(pays, with_features.by_offer(with_features.pull), without.by_offer(without.pull))
        return Weighed(pays, posterior.weighted(pull), centres)

    def _refresh_both(self, before: Weighed, old: BothModels, sums: Sums, rows: NDArray[np.intp]) -> Weighed:
        before_both = old.with_features, old.without
        one, other = (m.refresh(fit, sums, rows) for m, fit in zip(self._models, before_both, strict=True))
        same = [
            new.centres.scaled is fit.centres.scaled
            for new, fit in zip((one, other), before_both, strict=True)
        ]
        for place, fit in enumerate((one, other)):
            changed = rows if same[place] else np.arange(len(sums.offers))
            old.determinants[place, changed] = log_determinants(fit.posterior.factors[:, :, changed])
        both = BothModels(one, other, old.determinants)
        pays = _pays(_lead(both), sums)
        before.posterior.own[rows] = sums.own[rows]
        return self._by_posteriors(before.posterior, both, pays, _changed(before, pays, rows, all(same)))

    def _by_posteriors(
        self, posterior: Posterior, both: BothModels, pays: BoolArray, rows: NDArray[np.intp]
    ) -> Weighed:
        """Take each offer's posterior from its model; only the factors of ``rows`` have changed."""
        one, other = both.with_features.posterior, both.without.posterior
        posterior.factors[:, :, rows] = np.where(
            pays[rows], one.factors[:, :, rows], other.factors[:, :, rows]
        )
        posterior.response[:, rows] = one.response[:, rows]
        return Weighed(pays, replace(posterior, weights=np.where(pays, one.weights, other.weights)), both)


def _changed(before: Weighed, pays: BoolArray, rows: NDArray[np.intp], same_scale: bool) -> NDArray[np.intp]:
    """Return the rows that have other factors than before: those of others stay as they are, they are much."""
    if not same_scale:
        return np.arange(len(pays))
    return np.union1d(rows, np.flatnonzero(pays != before.pays))


def _lead(both: BothModels) -> FloatArray:
    """Return the log odds of features by both models' posteriors: shape ``(n,)``."""
    return log_evidence(both.with_features, both.determinants[0]) - log_evidence(
        both.without, both.determinants[1]
    )


def log_evidence(fit: Fit, determinants: FloatArray) -> FloatArray:
    """Return the log evidence of each offer's sums, up to a constant: shape ``(n,)``."""
    centres, weights = fit.centres, fit.posterior.weights
    factors, _ = invert_factors(centres.scaled.own[:, :, None])
    pull = centres.pull
    pulled = apply_factors(np.repeat(factors, pull.shape[1], axis=2), pull[:0, 0], pull)
    constant = centres.by_offer(-log_determinants(factors) - sum_rows(pulled * pulled))
    total: FloatArray = 0.5 * (constant + determinants + sum_rows(weights * weights))
    return total


def _pays(lead: FloatArray, sums: Sums) -> BoolArray:
    """Return whether features pay, for each offer: shape ``(n,)``. ``lead``: their log odds by its own outcomes."""
    pays: BoolArray = lead + (LEAD + min(max(sums.pooled, -MAX_POOLED), MAX_POOLED)) >= 0.0
    return pays
