"""``squarecb``: inverse gap weighting over a regression model.

Foster and Rakhlin, *Beyond UCB: optimal and efficient contextual bandits with regression oracles*, ICML 2020; the
weighting is that of Abe and Long, *Associative reinforcement learning using linear probabilistic concepts*, ICML 1999.
"""

from typing import Any, ClassVar

from bandits.exact_math import power_of
from bandits.parameters import one_of
from bandits.policy import Candidates, Distribution, FloatArray, PolicySpec
from bandits.regression.design import LINKS, Link, LogisticLink
from bandits.regression.regression_policy import PreparedRegression, RegressionPolicy
from bandits.sampling import inverse_gaps


class SquareCBPolicy(RegressionPolicy):
    r"""Chooses a candidate with a probability that falls with its gap to the best score.

    With ``K`` candidates, scores ``s = estimate x weight``, and ``N`` observations behind the model,

    .. math::  p_a = \frac{1}{K + \gamma (1 - s_a / s_b)}, \qquad \gamma = \mathrm{scale} \cdot N^\mathrm{exponent}

    and the best candidate ``b`` takes what the others leave. In the paper losses are in [0, 1] and gaps are
    differences; here they are shares of the best score, since scores may be in any currency, and acceptances of a few
    percent would otherwise never differ enough.

    Parameters
    ----------
    model : "logistic" or "linear"
        What rewards are regressed with. Default logistic.
    gamma_scale, gamma_exponent : float
        How fast exploration narrows. Defaults 100 and 0.5.

    And those of ``RegressionPolicy``.
    """

    algorithm = "squarecb"
    own_parameters: ClassVar[dict[str, Any]] = {
        "model": "logistic",
        "gamma_scale": 100.0,
        "gamma_exponent": 0.5,
    }

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.gamma_scale = self.number_in_range("gamma_scale", 1e-3, 1e6)
        self.gamma_exponent = self.number_in_range("gamma_exponent", 0.0, 2.0)

        self._expected: tuple[PreparedRegression, Candidates, FloatArray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the last propensities, which are a cache as the last prediction is."""
        return {**super().__getstate__(), "_expected": None}

    def choose_link(self) -> Link:
        """Return the link that the parameter ``model`` names."""
        return LINKS[one_of("model", self.parameters["model"], tuple(LINKS))]

    def propensities(self, prepared: PreparedRegression, candidates: Candidates) -> FloatArray:
        """Return the expected rewards at the posterior means."""
        found = super().propensities(prepared, candidates)
        self._expected = (prepared, candidates, found.copy())
        return found

    def _scores(self, prepared: PreparedRegression, candidates: Candidates) -> FloatArray:
        """Return the scores at the posterior means; those of log odds are the propensities, asked for just before."""
        latest = self._expected
        logistic = isinstance(self.link, LogisticLink)
        if logistic and latest is not None and latest[0] is prepared and latest[1] is candidates:
            return latest[2]
        return self.link.score(self.predict(prepared, candidates)[0])

    def selector(self, prepared: PreparedRegression, candidates: Candidates) -> Distribution:
        """Weigh what is available by inverse gaps, and mix it with the floor."""
        gamma = self.gamma_scale * power_of(prepared.total, self.gamma_exponent)
        scores = self._scores(prepared, candidates) * candidates.weight
        return inverse_gaps(scores, gamma, self.epsilon)
