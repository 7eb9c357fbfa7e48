"""The base of Thompson sampling on a regression model: choosing by posterior draws."""

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bandits.parameters import whole_in_range
from bandits.policy import Candidates, Distribution, PolicySpec, Sums
from bandits.regression.regression_policy import PreparedRegression, RegressionPolicy
from bandits.sampling import normal_draws, win_frequencies_of_scores

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
        drawn = self.link.weighted_draws(mean, self.exploration * deviation, prepared.extra, weight)
        return win_frequencies_of_scores(drawn, weight, self.epsilon)
