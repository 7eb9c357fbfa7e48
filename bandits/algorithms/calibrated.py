"""``calibrated``: precomputed propensities, corrected by live feedback. For placements that have them.

Recalibrating a score through the logistic regression on its logit is Cox, *Two further applications of a model for
binary regression*, Biometrika 45 (1958), and Platt (1999); the choice is that of ``logistic_thompson``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bandits.algorithms.pooled_evidence import FeatureEvidence
from bandits.algorithms.regression_thompson import LogisticThompsonPolicy
from bandits.algorithms.weighed_features import FeatureWeighing, Weighed
from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.policy import FloatArray, PolicySpec, Sums
from bandits.regression.design import LOGIT_SCALE
from bandits.regression.regression_policy import DEFAULT_EXPLORATION, PreparedRegression

OFFSET_PRECISION = 2.0
MISSING_PRECISION = 50.0
"""Of the offset where there is no propensity: firm, so that where nobody has one there is but one intercept."""
PROPENSITY_FEATURE = Feature("propensity", "propensity")


@dataclass(frozen=True, slots=True)
class PreparedCalibrated(PreparedRegression):
    """Offers that are ready to be chosen from, with what their models were weighed by, if they were."""

    weighed: Weighed | None = None


class CalibratedPolicy(LogisticThompsonPolicy):
    r"""Learns how far to trust the precomputed propensities, for each offer, starting from full trust.

    With ``q`` a customer's precomputed propensity, and ``x`` any further features, the log odds of an acceptance are

    .. math::  s = a_o + c_o \cdot \mathrm{logit}(q) + x' \beta_o

    Before anything is observed ``a = 0``, ``c = 1`` and ``beta = 0``: the estimate *is* the propensity. Feedback then
    moves all offers together (the data mart's model is too optimistic by now: ``a``; it is overconfident: ``c`` < 1),
    and each offer away from the others as far as its own evidence goes (this offer's propensities are stale).
    Where a customer has no propensity for an offer, the default propensity stands for it, corrected by ``a`` as well,
    and slowly by an offset of its own; with propensities for nobody, this is ``logistic_thompson`` on the other
    features.

    The propensity is among the features without being declared.

    Parameters
    ----------
    trust : float
        The prior precision of the propensity's slope, of the shared one around 1 and of an offer's own around that.
        Default 10.
    weigh_features : bool
        Whether an offer's features have to pay: where the evidence for them is clearly lower than for a model without
        them, they are left out until it is not. Default: true where ``features: auto`` chose them.
    pool_evidence : bool
        Whether the outcomes of all offers count in that beside an offer's own. Default false, since versions stay as
        they are; those that nextbest makes of the default itself have it.
    evidence_precision : float
        The multiple of the slopes' precision with which that evidence is computed, of each offer by itself. Default
        null: an offer's own evidence is that of its two posteriors, with the precision that slopes have.

    And those of ``LogisticThompsonPolicy``.
    """

    algorithm = "calibrated"
    own_parameters: ClassVar[dict[str, Any]] = {
        **LogisticThompsonPolicy.own_parameters,
        "trust": 10.0,
        "weigh_features": None,
        "pool_evidence": False,
        "evidence_precision": None,
    }

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        if self.parameters["weigh_features"] is None:
            self.parameters["weigh_features"] = spec.auto
        weighs, pools = self._truth_value("weigh_features"), self._truth_value("pool_evidence")
        # Without features, exploring less would lock onto a wrong offer.
        self._bold = (
            self.exploration if spec.parameters.get("exploration") is not None else DEFAULT_EXPLORATION
        )
        columns = slice(1, self.design.common)
        weighs = weighs and self.encoder.width > 0
        self._weighing = FeatureWeighing(self.regression, columns) if weighs else None
        narrow = self._evidence_precision(pools)
        self.pool = FeatureEvidence(self.regression, columns, narrow) if weighs and pools else None

    def _truth_value(self, name: str) -> bool:
        value = self.parameters[name]
        if not isinstance(value, bool):
            raise PolicyParameterError(f"{name} is true or false, not {value!r}", f"parameters.{name}")
        return value

    def _evidence_precision(self, pools: bool) -> float | None:
        if self.parameters["evidence_precision"] is None:
            return None
        precision = self.number_in_range("evidence_precision", 1e-2, 1e4)
        if not pools:
            raise PolicyParameterError(
                "the evidence of offers by themselves is that of pool_evidence, which has to be true",
                "parameters.evidence_precision",
            )
        return precision

    def used_features(self, spec: PolicySpec) -> tuple[Feature, ...]:
        """Return the declared features and the propensity."""
        declared = any(feature.kind == "propensity" for feature in spec.features)
        return spec.features if declared else (*spec.features, PROPENSITY_FEATURE)

    def prior_mean(self) -> FloatArray:
        """Return 1 for the logit of the propensity, and the default's log odds where there is none."""
        mean = np.zeros(self.design.width)
        mean[self.design.common] = LOGIT_SCALE
        mean[self.design.common + 1] = self.link.predictor(self.default)
        return mean

    def prior_precision(self, slope: float) -> FloatArray:
        """Return ``trust`` for the propensity's slope, and the fixed precisions of the two offsets."""
        precision = super().prior_precision(slope)
        # Offsets do not share the precision of slopes, which grows with the number of features.
        precision[0] = OFFSET_PRECISION
        precision[self.design.common + 1] = MISSING_PRECISION
        precision[self.design.common] = self.number_in_range("trust", 1e-3, 1e4)
        return precision

    def prepare(self, sums: Sums) -> PreparedRegression:
        """Compute the posteriors of all offers, by the model that each offer's evidence is for."""
        if self._weighing is None:
            return super().prepare(sums)
        return self._chosen(self._weighing.prepare(sums), sums, self.prepare_extra(sums))

    def refresh(self, prepared: PreparedRegression, sums: Sums, rows: NDArray[np.intp]) -> PreparedRegression:
        """Compute what ``rows`` and the shared sums change."""
        before = prepared.weighed if isinstance(prepared, PreparedCalibrated) else None
        if self._weighing is None or before is None:
            return super().refresh(prepared, sums, rows)
        return self._chosen(self._weighing.refresh(before, sums, rows), sums, prepared.extra)

    def _chosen(self, weighed: Weighed, sums: Sums, extra: Any) -> PreparedCalibrated:
        ready = self._prepared(weighed.posterior, None, sums, extra)
        # Where features do not pay, as much is explored as without any.
        exploration = np.where(weighed.pays, self.exploration, self._bold)
        return PreparedCalibrated(
            ready.posterior, None, ready.noise, ready.total, ready.extra, exploration, weighed
        )
