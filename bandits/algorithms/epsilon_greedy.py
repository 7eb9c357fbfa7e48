"""``epsilon_greedy``: the best offer so far, and with probability epsilon any of them.

Watkins, *Learning from delayed rewards*, PhD thesis, Cambridge 1989; Sutton and Barto, *Reinforcement Learning*, 2018,
section 2.2. The simplest policy that others can be evaluated on.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bandits.algorithms.beta_arms import BetaArmsPolicy, odds_to_probability
from bandits.policy import Candidates, Distribution, FloatArray, Sums
from bandits.sampling import best_score


class EpsilonGreedyPolicy(BetaArmsPolicy):
    """Takes the best ``p x weight`` at the posterior means; equals share. The model is that of ``BetaArmsPolicy``.

    Parameters
    ----------
    epsilon : float
        The share of choices spread evenly over all candidates: all the exploration that there is. Default 0.1.
        The others are those of ``BetaArmsPolicy``.
    """

    algorithm = "epsilon_greedy"
    own_parameters: ClassVar[dict[str, Any]] = {"epsilon": 0.1}

    def prepare(self, sums: Sums) -> FloatArray:
        """Compute each arm's odds ratio at its posterior mean: shape ``(n,)``."""
        return self.posterior(sums.own).ratio

    def refresh(self, prepared: FloatArray, sums: Sums, rows: NDArray[np.intp]) -> FloatArray:
        """Compute those of ``rows`` anew, in place."""
        prepared[rows] = self.posterior(sums.own[rows]).ratio
        return prepared

    def propensities(self, prepared: FloatArray, candidates: Candidates) -> FloatArray:
        """Return the customer's propensities at the arms' posterior means."""
        return odds_to_probability(self.odds(candidates) * prepared)

    def selector(self, prepared: FloatArray, candidates: Candidates) -> Distribution:
        """Give everything but the floor to the best score."""
        return best_score(self.propensities(prepared, candidates) * candidates.weight, self.epsilon)
