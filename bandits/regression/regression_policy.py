"""What all policies on a regression model have in common: parameters, learning, and the expected propensities."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from bandits.decay import ForwardDecay
from bandits.features import Encoder, Feature
from bandits.parameters import in_range, known_parameters, one_of
from bandits.policy import Candidates, Distribution, FloatArray, Observation, PolicySpec, Sums
from bandits.regression.design import Design
from bandits.regression.links import Link
from bandits.regression.posterior import Posterior, Prior, Regression, Share

DAY_S = 86_400.0
INTERCEPT_PRECISION = 2.0


@dataclass(frozen=True, slots=True)
class PreparedRegression:
    """``posterior`` of all offers; ``noise``: the variance of an observation of each, ``(n,)``; ``total``: how much
    was observed of all offers together; ``extra``: what else an algorithm keeps for choosing."""

    posterior: Posterior
    noise: FloatArray
    total: float
    extra: Any


Prediction = tuple[FloatArray, FloatArray]
"""The mean and the standard deviation of each candidate's linear predictor: shapes ``(n,)``."""


class RegressionPolicy(ABC):
    """Learns a regression of rewards; subclasses add how to choose.

    Parameters
    ----------
    share : "none", "shrink" or "all"
        What offers have in common; see ``bandits.regression.posterior``.
    ridge : float
        The prior precision of a slope, for each declared feature: with ``F`` features, slopes have the prior variance
        ``1 / (ridge F)``, so that the prior of the whole does not widen with their number.
    shrinkage : float
        The same for an offer's own deviation from the slopes of all offers.
    default_propensity : float
        What is expected of any offer before anything is observed.
    half_life_days : float
        Observations lose half of their weight in this time; 0 never forgets.
    epsilon : float
        The share of choices spread evenly over all candidates.
    """

    algorithm: ClassVar[str]
    own_parameters: ClassVar[dict[str, Any]]
    """The parameters that a subclass adds, with their defaults."""

    common_parameters: ClassVar[dict[str, Any]] = {
        "share": "shrink",
        "ridge": 0.4,
        "shrinkage": 0.4,
        "default_propensity": 0.05,
        "half_life_days": 90.0,
        "epsilon": 0.005,
    }
    shared = True

    def __init__(self, spec: PolicySpec) -> None:
        known = {**self.common_parameters, **self.own_parameters}
        known_parameters(self.algorithm, spec.parameters, tuple(known))
        self.name = spec.name
        self.version = spec.version
        self.parameters: dict[str, Any] = {**known, **spec.parameters}
        self.default = self.number("default_propensity", 1e-4, 0.9999)
        half_life_days = self.number("half_life_days", 0.0, 36_500.0)
        self.decay = ForwardDecay(half_life_days * DAY_S if half_life_days else None)
        self.epsilon = self.number("epsilon", 1e-4, 1.0)
        self.link = self.choose_link()
        self.encoder = Encoder(self.features(spec))
        self.design = Design.of(self.encoder)
        self.regression = Regression(self.design, self._prior())
        self.width = self.regression.layout.width
        self._latest: tuple[PreparedRegression, Candidates, Prediction] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """All but what was predicted last, which is nothing that the policy knows."""
        return {**self.__dict__, "_latest": None}

    def number(self, name: str, low: float, high: float) -> float:
        """A parameter, if it is in its range."""
        return in_range(name, self.parameters[name], low, high)

    @abstractmethod
    def choose_link(self) -> Link:
        """The link of this algorithm."""

    def features(self, spec: PolicySpec) -> tuple[Feature, ...]:
        """The features that are used."""
        return spec.features

    def prior_mean(self) -> FloatArray:
        """What is expected before anything is observed, as parameters of columns that are not scaled."""
        mean = np.zeros(self.design.width)
        mean[0] = self.link.predictor(self.default)
        return mean

    def declared(self) -> int:
        """The number of features, but for the propensity."""
        return sum(feature.kind != "propensity" for feature in self.encoder.features)

    def precision(self, slope: float) -> FloatArray:
        """Prior precisions of parameters, where ``slope`` is that of a slope for each declared feature."""
        precision = np.full(self.design.width, slope * max(1, self.declared()))
        precision[0] = INTERCEPT_PRECISION
        return precision

    def _prior(self) -> Prior:
        share = cast(Share, one_of("share", self.parameters["share"], ("none", "shrink", "all")))
        ridge, shrinkage = self.number("ridge", 1e-3, 1e4), self.number("shrinkage", 1e-3, 1e4)
        return Prior(self.prior_mean(), self.precision(ridge), self.precision(shrinkage), share)

    def learn(self, observation: Observation) -> FloatArray:
        """What the observation adds to the sums of a regression, linearised at what was expected of it."""
        expected = observation.estimate
        if not 0.0 < expected < 1.0:
            expected = observation.base_propensity
        if not 0.0 < expected < 1.0:
            expected = self.default
        weight, response = self.link.observe(observation.reward, expected)
        z = self.design.row(observation.x, observation.base_propensity)
        return self.regression.layout.contribution(z, weight, response, observation.reward)

    def prepare(self, sums: Sums) -> PreparedRegression:
        """The posteriors of all offers."""
        return self._prepared(self.regression.prepare(sums), sums, self.extra(sums))

    def refresh(self, prepared: PreparedRegression, sums: Sums, rows: NDArray[np.intp]) -> PreparedRegression:
        """The posteriors of ``rows`` anew; of all only when the scale of a column changed."""
        return self._prepared(self.regression.refresh(prepared.posterior, sums, rows), sums, prepared.extra)

    def _prepared(self, posterior: Posterior, sums: Sums, extra: Any) -> PreparedRegression:
        noise = self.link.noise(posterior.own, sums.shared)
        return PreparedRegression(posterior, noise, float(max(sums.shared[0], 0.0)), extra)

    def extra(self, sums: Sums) -> Any:
        """What else is needed for choosing; it must depend on the offers' numbers alone."""
        return None

    def predict(self, prepared: PreparedRegression, candidates: Candidates) -> Prediction:
        """What is predicted for candidates; made once a decision, which asks for propensities, then for a choice."""
        latest = self._latest
        if latest is not None and latest[0] is prepared and latest[1] is candidates:
            return latest[2]
        posterior = prepared.posterior
        z = self.design.columns(candidates.x, candidates.base_propensity)
        projected = posterior.project(z)
        deviation = np.sqrt(posterior.variance(projected, z) * prepared.noise)
        prediction = (posterior.mean(projected), deviation)
        self._latest = (prepared, candidates, prediction)
        return prediction

    def propensities(self, prepared: PreparedRegression, candidates: Candidates) -> FloatArray:
        """The expected rewards at the posterior means."""
        return self.link.propensity(self.predict(prepared, candidates)[0])

    @abstractmethod
    def selector(self, prepared: PreparedRegression, candidates: Candidates) -> Distribution:
        """How to choose is what subclasses differ in."""
