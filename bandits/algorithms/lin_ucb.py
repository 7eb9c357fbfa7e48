"""``lin_ucb``: the best upper confidence bound of a linear regression.

Li, Chu, Langford and Schapire, *A contextual-bandit approach to personalized news article recommendation*, WWW 2010.
"""

from typing import Any, ClassVar

from bandits.policy import Candidates, Distribution, PolicySpec
from bandits.regression.design import LINKS, Link
from bandits.regression.regression_policy import PreparedRegression, RegressionPolicy
from bandits.sampling import best_score


class LinUCBPolicy(RegressionPolicy):
    r"""Takes the highest upper confidence bound, ``(estimate + alpha x standard error) x weight``.

    With ``share: none`` each offer has a ridge regression of its own: the paper's algorithm 1 (*disjoint*), for
    ``exploration`` as its :math:`\alpha`, except that the bound is in units of the estimated noise of rewards.
    The paper's algorithm 2 (*hybrid*) divides columns into shared ones and offers' own; with ``share: shrink`` every
    column is both, and evidence decides how far an offer departs from what is shared. Ties share.

    Parameters
    ----------
    alpha : float
        How many standard errors are added. Default 0.3.

    And those of ``RegressionPolicy``.
    """

    algorithm = "lin_ucb"
    own_parameters: ClassVar[dict[str, Any]] = {"alpha": 0.3}

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.alpha = self.number_in_range("alpha", 0.0, 100.0)

    def choose_link(self) -> Link:
        """Return the linear link."""
        return LINKS["linear"]

    def selector(self, prepared: PreparedRegression, candidates: Candidates) -> Distribution:
        """Give everything but the floor to the best upper bound that is available."""
        mean, deviation = self.predict(prepared, candidates)
        bound = self.link.score(mean + self.alpha * deviation)
        return best_score(bound * candidates.weight, self.epsilon)
