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

from bandits.exact_math import apply_factors, invert_factors, log, sum_rows
from bandits.policy import BoolArray, FloatArray, Sums
from bandits.regression.posterior import HOLDING_PRECISION, Posterior, Regression

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
    """The posteriors of ``n`` offers by both models.

    ``determinants``, shape ``(2, n)``: the log determinants of their covariances, with and without features; ``None``
    if the evidence was given. ``pays``, shape ``(n,)``: whether an offer's model is the one with features.
    ``posterior``: that of each offer's model.
    """

    with_features: Posterior
    without: Posterior
    determinants: FloatArray | None
    pays: BoolArray
    posterior: Posterior


class FeatureWeighing:
    """Computes the posteriors of both models, and chooses between them for each offer.

    ``regression``: the model with features. ``columns``: which of its columns are features' own.
    """

    def __init__(self, regression: Regression, columns: slice) -> None:
        self._regression = regression
        prior = regression.prior
        precision, deviation = prior.precision.copy(), prior.deviation.copy()
        # Slopes that are held to their mean, 0, are no slopes.
        precision[columns] = deviation[columns] = HOLDING_PRECISION
        self._without = Regression(
            regression.design, replace(prior, precision=precision, deviation=deviation)
        )

    def prepare(self, sums: Sums) -> Weighed:
        """Compute the posteriors of all offers."""
        posteriors = self._regression.prepare(sums), self._without.prepare(sums)
        determinants = None
        if sums.evidence is None:
            determinants = np.array([_log_determinants(p.factors) for p in posteriors])
        pays = _pays(*posteriors, determinants, sums)
        factors = np.where(pays, posteriors[0].factors, posteriors[1].factors)
        return _weighed(*posteriors, determinants, pays, factors)

    def refresh(self, before: Weighed, sums: Sums, rows: NDArray[np.intp]) -> Weighed:
        """Return what ``prepare`` would if only ``rows`` and the shared sums changed; arrays are reused."""
        old = before.with_features, before.without
        new = (
            self._regression.refresh(old[0], sums, rows),
            self._without.refresh(old[1], sums, rows),
        )
        determinants, every = before.determinants, np.arange(len(sums.offers))
        same = [was.scaled is posterior.scaled for was, posterior in zip(old, new, strict=True)]
        if determinants is not None:
            for place, posterior in enumerate(new):
                changed = rows if same[place] else every
                determinants[place, changed] = _log_determinants(posterior.factors[:, :, changed])
        pays = _pays(*new, determinants, sums)
        # Factors are much more than all else: those of offers that stay as they were are not copied anew.
        changed = np.union1d(rows, np.flatnonzero(pays != before.pays)) if all(same) else every
        factors = before.posterior.factors
        factors[:, :, changed] = np.where(
            pays[changed], new[0].factors[:, :, changed], new[1].factors[:, :, changed]
        )
        return _weighed(*new, determinants, pays, factors)


def log_evidence(posterior: Posterior, determinants: FloatArray) -> FloatArray:
    """Return the log evidence of each offer's sums, up to a constant: shape ``(n,)``."""
    factors, _ = invert_factors(posterior.scaled.own[:, :, None])
    pull = posterior.pull
    pulled = apply_factors(np.repeat(factors, pull.shape[1], axis=2), pull[:0, 0], pull)
    constant = posterior.by_offer(-_log_determinants(factors) - sum_rows(pulled * pulled))
    explained = sum_rows(posterior.weights * posterior.weights)
    total: FloatArray = 0.5 * (constant + determinants + explained)
    return total


def _pays(
    with_features: Posterior, without: Posterior, determinants: FloatArray | None, sums: Sums
) -> BoolArray:
    """Return whether features pay, for each offer: shape ``(n,)``."""
    if determinants is None:
        assert sums.evidence is not None
        lead = sums.evidence
    else:
        lead = log_evidence(with_features, determinants[0]) - log_evidence(without, determinants[1])
    pays: BoolArray = lead + (LEAD + min(max(sums.pooled, -MAX_POOLED), MAX_POOLED)) >= 0.0
    return pays


def _weighed(
    with_features: Posterior,
    without: Posterior,
    determinants: FloatArray | None,
    pays: BoolArray,
    factors: FloatArray,
) -> Weighed:
    """Return both models with the posterior that ``pays`` chooses; ``factors``: that posterior's."""
    responses = (
        with_features.response + with_features.by_offer(with_features.pull),
        without.response + without.by_offer(without.pull),
    )
    posterior = Posterior(
        with_features.own,
        with_features.scaled,
        np.zeros((len(with_features.pull), 1)),  # each offer's pull is in its response
        factors,
        np.where(pays, *responses),
        np.where(pays, with_features.weights, without.weights),
    )
    return Weighed(with_features, without, determinants, pays, posterior)


def _log_determinants(factors: FloatArray) -> FloatArray:
    """Return the log determinants of ``W' W``: shape ``(n,)``, for factors of shape ``(D, D, n)``."""
    places = np.arange(len(factors))
    return 2.0 * sum_rows(log(factors[places, places]))
