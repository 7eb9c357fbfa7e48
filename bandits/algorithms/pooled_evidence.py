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

from dataclasses import dataclass, replace

import numpy as np

from bandits.exact_math import apply_factors, invert_factors, log_determinants, multiply, sum_rows
from bandits.policy import FloatArray, quantise
from bandits.regression.posterior import Regression, ScaledPrior

MAX_PART = 20.0
"""The most that one offer says for features or against them, in log odds."""


@dataclass(frozen=True, slots=True)
class EvidenceContext:
    """What evidence depends on beside an arm's sums: the prior on the scale of columns, and the evidence of no sums.

    ``models``: of the model with features and of the one without, the prior's precision and ``T c`` of its columns,
    and what they are worth by themselves.
    """

    scaled: ScaledPrior
    models: tuple[tuple[FloatArray, FloatArray, float], ...]


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
        # Of the model with features and of the one without.
        self._columns = every, np.delete(every, columns)

    def context(self, shared: FloatArray, before: EvidenceContext | None = None) -> EvidenceContext:
        """Return what else the evidence depends on; ``before`` itself if the scale of columns is that one's."""
        scaled = self._regression.scaled_prior(shared, None if before is None else before.scaled)
        if before is not None and scaled is before.scaled:
            return before
        models = []
        for columns in self._columns:
            precision = np.ascontiguousarray(scaled.own[np.ix_(columns, columns)])
            pull = multiply(precision, self._regression.prior.mean[columns])
            models.append((precision, pull, float(_twice_log_evidence(precision[None], pull[:, None])[0])))
        return EvidenceContext(scaled, tuple(models))

    def evidence(self, own: FloatArray, context: EvidenceContext) -> FloatArray:
        """Return the log odds of features by each arm: shape ``(m,)``."""
        a, b = self._regression.layout.read(own)
        self._regression.layout.offset_rounding(a, own[:, 0])
        with_features, without = (
            0.5
            * (
                _twice_log_evidence(
                    a[:, columns[:, None], columns] + precision, b[:, columns].T + pull[:, None]
                )
                - of_prior
            )
            for columns, (precision, pull, of_prior) in zip(self._columns, context.models, strict=True)
        )
        return quantise(np.minimum(np.maximum(with_features - without, -MAX_PART), MAX_PART))


def _twice_log_evidence(matrices: FloatArray, responses: FloatArray) -> FloatArray:
    """Return it up to a constant, shape ``(m,)``: of precisions ``(m, D, D)`` and responses ``(D, m)``."""
    factors, _ = invert_factors(matrices.transpose(1, 2, 0))
    weights = apply_factors(factors, np.empty(0), responses)
    return sum_rows(weights * weights) + log_determinants(factors)
