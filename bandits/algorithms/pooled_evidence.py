r"""The say of the outcomes of all offers together on features: a number that every offer's weighing may lean on.

Each offer alone has too few outcomes for long to show that its slopes pay, where all offers together show it soon. So
the log odds of features, as ``weighed_features`` computes them, are added up over the arms of all offers that were ever
observed. Each offer is taken by itself, around the prior's mean and not around what offers have in common: then its
part depends on its own sums and on the scale of columns alone, and an outcome changes one part.

Parts are bounded and multiples of the quantum, so their sum is exact, and the same in whatever order they come.

How wide slopes are expected to be matters more to evidence than to estimates: a wide prior spreads its chances over
slopes that no offer has, so while outcomes are few it is found wanting even where slopes are there (Lindley, *A
statistical paradox*, Biometrika 44, 1957). ``precision`` narrows it for the evidence alone.
"""

from dataclasses import replace

import numpy as np

from bandits.exact_math import apply_factors, invert_factors, log, multiply, sum_rows
from bandits.policy import FloatArray, quantise
from bandits.regression.posterior import Regression, ScaledPrior

MAX_PART = 20.0
"""The most that one offer says for features or against them, in log odds."""


class FeatureEvidence:
    """Computes the evidence for features of offers by themselves (see ``bandits.policy.EvidencePool``).

    ``regression``: the model with features. ``columns``: which of its columns are features' own. ``precision``: the
    multiple of their precision that the evidence is computed with; then offers are weighed by their own part of it
    (``by_offer``). ``None``: the model's own precision, for versions that weigh by their posteriors.
    """

    def __init__(self, regression: Regression, columns: slice, precision: float | None = None) -> None:
        self.by_offer = precision is not None
        if precision is not None:
            prior = regression.prior
            shared, own = prior.precision.copy(), prior.deviation.copy()
            shared[columns] *= precision
            own[columns] *= precision
            regression = Regression(regression.design, replace(prior, precision=shared, deviation=own))
        self._regression = regression
        every = np.arange(regression.design.width)
        self._every, self._others = every, np.delete(every, columns)

    def context(self, shared: FloatArray, before: ScaledPrior | None = None) -> ScaledPrior:
        """Return what else the evidence depends on: the prior on the scale of columns."""
        return self._regression.scaled_prior(shared, before)

    def evidence(self, own: FloatArray, context: ScaledPrior) -> FloatArray:
        """Return the log odds of features by each arm: shape ``(m,)``."""
        a, b = self._regression.layout.read(own)
        self._regression.layout.offset_rounding(a, own[:, 0])
        precision = context.own
        lead = self._log_evidence(a, b, precision, self._every) - self._log_evidence(
            a, b, precision, self._others
        )
        return quantise(np.minimum(np.maximum(lead, -MAX_PART), MAX_PART))

    def _log_evidence(
        self,
        a: FloatArray,
        b: FloatArray,
        precision: FloatArray,
        columns: np.ndarray[tuple[int], np.dtype[np.intp]],
    ) -> FloatArray:
        """Return the log evidence of a model with these columns: shape ``(m,)``."""
        part = np.ix_(columns, columns)
        prior = np.ascontiguousarray(precision[part])
        matrices = a[:, columns[:, None], columns] + prior
        # The prior by itself is the last: what the sums are compared with.
        factors, _ = invert_factors(np.concatenate((matrices, prior[None])).transpose(1, 2, 0))
        pull = multiply(prior, self._regression.prior.mean[columns])
        responses = np.concatenate((b[:, columns], np.zeros((1, len(columns))))).T + pull[:, None]
        weights = apply_factors(factors, pull[:0], responses)
        places = np.arange(len(columns))
        total = sum_rows(weights * weights) + 2.0 * sum_rows(log(factors[places, places]))
        found: FloatArray = 0.5 * (total[:-1] - total[-1])
        return found
