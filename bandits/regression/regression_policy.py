"""The bases of all policies on a regression model: parameters, learning, expected propensities, Thompson sampling."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError
from bandits.features import Encoder, Feature
from bandits.parameters import decay_of_half_life, in_range, known_parameters, one_of, whole_in_range
from bandits.policy import Candidates, Distribution, FloatArray, Observation, PolicySpec, Sums
from bandits.regression.design import Design, Link
from bandits.regression.posterior import Centres, Fit, Posterior, Prior, Regression, Share
from bandits.sampling import normal_draws, win_frequencies_of_scores

INTERCEPT_PRECISION = 2.0


@dataclass(frozen=True, slots=True)
class PreparedRegression:
    """Offers that are ready to be chosen from.

    ``posterior``: of all offers. ``centres``: what they are centred at; ``None`` if each offer has one of two models.
    ``noise``: the variance of an observation of each, ``(n,)``. ``total``: the decayed number of observations of all
    offers together. ``extra``: data of the algorithm for choosing. ``exploration``: by what draws from the posteriors
    are spread, of all offers or of each, ``(n,)``.
    """

    posterior: Posterior
    centres: Centres | None
    noise: FloatArray
    total: float
    extra: Any
    exploration: float | FloatArray


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
    group_shrinkage : float
        Offers share strength by group: so many times as firmly as an offer's parameters are held to those of its group,
        a group's are held to those of all offers. Default null, without groups, since versions stay as they are; those
        that nextbest makes of the default itself have 4. Needs ``share`` other than "none".
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
        "group_shrinkage": None,
        "default_propensity": 0.05,
        "half_life_days": 90.0,
        "epsilon": 0.005,
    }
    shared = True
    exploration = 1.0

    def __init__(self, spec: PolicySpec) -> None:
        known = {**self.common_parameters, **self.own_parameters}
        known_parameters(self.algorithm, spec.parameters, tuple(known))
        self.name = spec.name
        self.version = spec.version
        self.parameters: dict[str, Any] = {**known, **spec.parameters}
        self.default = self.number_in_range("default_propensity", 1e-4, 0.9999)
        self.decay = decay_of_half_life(self.parameters["half_life_days"])
        self.epsilon = self.number_in_range("epsilon", 1e-4, 1.0)
        self.link = self.choose_link()
        self.encoder = Encoder(self.used_features(spec))
        self.design = Design.of(self.encoder)
        self.regression = Regression(self.design, self._prior())
        self.width = self.regression.layout.width
        self.by_group = self.regression.prior.group is not None
        self._latest: tuple[PreparedRegression, Candidates, Prediction] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the last prediction, which is a cache and no state of the policy."""
        return {**self.__dict__, "_latest": None}

    def number_in_range(self, name: str, low: float, high: float) -> float:
        """Return a parameter. Raises ``PolicyParameterError`` if it is out of its range."""
        return in_range(name, self.parameters[name], low, high)

    @abstractmethod
    def choose_link(self) -> Link:
        """Return the link of this algorithm."""

    def used_features(self, spec: PolicySpec) -> tuple[Feature, ...]:
        """Return the features that the model uses."""
        return spec.features

    def prior_mean(self) -> FloatArray:
        """Return the prior mean of the parameters of unscaled columns."""
        mean = np.zeros(self.design.width)
        mean[0] = self.link.predictor(self.default)
        return mean

    def count_declared(self) -> int:
        """Return the number of features, not counting the propensity."""
        return sum(feature.kind != "propensity" for feature in self.encoder.features)

    def prior_precision(self, slope: float) -> FloatArray:
        """Return the prior precisions of parameters; ``slope`` is that of a slope for each declared feature."""
        precision = np.full(self.design.width, slope * max(1, self.count_declared()))
        precision[0] = INTERCEPT_PRECISION
        return precision

    def _prior(self) -> Prior:
        share = cast(Share, one_of("share", self.parameters["share"], ("none", "shrink", "all")))
        precision = self.prior_precision(self.number_in_range("ridge", 1e-3, 1e4))
        deviation = self.prior_precision(self.number_in_range("shrinkage", 1e-3, 1e4))
        return Prior(self.prior_mean(), precision, deviation, share, self._group_shrinkage(share))

    def _group_shrinkage(self, share: Share) -> float | None:
        if self.parameters["group_shrinkage"] is None:
            return None
        shrinkage = self.number_in_range("group_shrinkage", 1e-3, 1e4)
        if share == "none":
            raise PolicyParameterError(
                "groups share nothing where share is none", "parameters.group_shrinkage"
            )
        return shrinkage

    def linearised_at(self, observation: Observation) -> float:
        """Return where an observation is linearised: at its estimate, else its base propensity, else the default."""
        # The estimate as it was logged, not today's: so contributions commute. NaN fails both tests.
        expected = observation.estimate
        if not 0.0 < expected < 1.0:
            expected = observation.base_propensity
        if not 0.0 < expected < 1.0:
            expected = self.default
        return expected

    def learn(self, observation: Observation) -> FloatArray:
        """Return the amounts to add to the regression's sums, linearised at the propensity that was expected."""
        weight, response = self.link.linearise(observation.reward, self.linearised_at(observation))
        z = self.design.row(observation.x, observation.base_propensity)
        return self.regression.layout.contribution(z, weight, response, observation.reward)

    def learn_all(self, observations: Sequence[Observation]) -> FloatArray:
        """Return what ``learn`` returns for each, bit for bit: shape ``(m, width)``. Much faster for many."""
        rewards = np.array([seen.reward for seen in observations])
        expected = np.array([self.linearised_at(seen) for seen in observations])
        x = np.array([seen.x for seen in observations])
        base_propensities = np.array([seen.base_propensity for seen in observations])
        weight, response = self.link.linearise_all(rewards, expected)
        z = self.design.rows(x, base_propensities)
        return self.regression.layout.contributions(z, weight, response, rewards)

    def prepare(self, sums: Sums) -> PreparedRegression:
        """Compute the posteriors of all offers."""
        fit = self.regression.prepare(sums)
        return self._prepared(fit.posterior, fit.centres, sums, self.prepare_extra(sums))

    def refresh(self, prepared: PreparedRegression, sums: Sums, rows: NDArray[np.intp]) -> PreparedRegression:
        """Compute the posteriors of ``rows`` anew; those of all only when the scale of a column changed."""
        assert prepared.centres is not None
        fit = self.regression.refresh(Fit(prepared.posterior, prepared.centres), sums, rows)
        return self._prepared(fit.posterior, fit.centres, sums, prepared.extra)

    def _prepared(
        self, posterior: Posterior, centres: Centres | None, sums: Sums, extra: Any
    ) -> PreparedRegression:
        # From the posterior's own sums: after a refresh ``sums.own`` is filled in the changed rows alone.
        noise = self.link.noise(posterior.own, sums.shared)
        total = float(max(sums.shared[0], 0.0))
        return PreparedRegression(posterior, centres, noise, total, extra, self.exploration)

    def prepare_extra(self, sums: Sums) -> Any:
        """Return what else choosing needs; it must depend on the offers' numbers alone."""
        return None

    def predict(self, prepared: PreparedRegression, candidates: Candidates) -> Prediction:
        """Predict candidates. Computed once a decision, which asks for propensities, then for a choice."""
        latest = self._latest
        # By identity: equal candidates of another decision must not share the arrays.
        if latest is not None and latest[0] is prepared and latest[1] is candidates:
            return latest[2]
        z = self.design.columns(candidates.x, candidates.base_propensity)
        prediction = prepared.posterior.predict(z, prepared.noise)
        self._latest = (prepared, candidates, prediction)
        return prediction

    def propensities(self, prepared: PreparedRegression, candidates: Candidates) -> FloatArray:
        """Return the expected rewards at the posterior means."""
        return self.link.propensity(self.predict(prepared, candidates)[0])

    @abstractmethod
    def selector(self, prepared: PreparedRegression, candidates: Candidates) -> Distribution:
        """Return the distribution of this algorithm."""


DEFAULT_EXPLORATION = 0.35


class ThompsonRegressionPolicy(RegressionPolicy):
    """Chooses by the frequency of winning when linear predictors are drawn from their posteriors.

    Parameters
    ----------
    exploration : float
        Draws lie this many times as far from their mean as the posterior says. The default falls with the number
        ``F`` of declared features, ``0.35 / sqrt(1 + F / 4)``: with more of them, predictors are uncertain in more
        directions than matter for long, while without any, exploring too little locks onto a wrong offer.
    draws : int
        How many joint draws there are. They are fixed for an offer, so that probabilities are exact.
    """

    own_parameters: ClassVar[dict[str, Any]] = {"exploration": None, "draws": 128}

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        if self.parameters["exploration"] is None:
            self.parameters["exploration"] = round(
                DEFAULT_EXPLORATION / math.sqrt(1.0 + self.count_declared() / 4.0), 3
            )
        self.exploration = self.number_in_range("exploration", 0.0, 10.0)
        self.draws = whole_in_range("draws", self.parameters["draws"], 8, 4096)

    def prepare_extra(self, sums: Sums) -> NDArray[np.float32]:
        """Return standard normal draws of each offer."""
        return normal_draws(sums.offers, self.draws)

    def selector(self, prepared: PreparedRegression, candidates: Candidates) -> Distribution:
        """Count the draws that each available candidate's ``score x weight`` wins, and mix in the floor."""
        mean, deviation = self.predict(prepared, candidates)
        weight = candidates.weight.astype(prepared.extra.dtype)  # tiny weights may vanish here
        drawn = self.link.weighted_draws(mean, prepared.exploration * deviation, prepared.extra, weight)
        return win_frequencies_of_scores(drawn, weight, self.epsilon)
