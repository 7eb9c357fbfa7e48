"""``thompson``: Beta-Bernoulli Thompson sampling on offers, personalised by precomputed propensities.

Thompson, *On the likelihood that one unknown probability exceeds another*, Biometrika 25 (1933); Chapelle and Li,
*An empirical evaluation of Thompson sampling*, NIPS 2011.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bandits.algorithms.beta_arms import MIN_CHANCE, BetaArmsPolicy, odds_to_probability
from bandits.parameters import whole_in_range
from bandits.policy import Candidates, Distribution, FloatArray, PolicySpec, Sums
from bandits.sampling import win_frequencies


@dataclass(frozen=True, slots=True)
class PreparedArms:
    """Posterior draws of each arm's odds ratio, ready to be joined with a customer's odds.

    ``draws``: shape ``(K, n)``, float32. ``ratio``: shape ``(n,)``, the same at the posterior mean.
    """

    draws: NDArray[np.float32]
    ratio: FloatArray


class ThompsonPolicy(BetaArmsPolicy):
    """Chooses by the frequency of winning when the levels of all arms are drawn from their posteriors.

    The model is that of ``BetaArmsPolicy``. The frequencies with which each candidate's ``p x weight`` wins in
    ``draws`` joint draws, mixed with a floor, *are* the distribution (see ``sampling.with_floor``).

    Parameters
    ----------
    draws : int
        ``K``, the number of joint draws. Default 128. The others are those of ``BetaArmsPolicy``.
    """

    algorithm = "thompson"
    own_parameters: ClassVar[dict[str, Any]] = {"draws": 128}

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__(spec)
        self.draws = whole_in_range("draws", self.parameters["draws"], 8, 4096)

    def prepare(self, sums: Sums) -> PreparedArms:
        """Draw from the posterior of each arm. The draws depend on the offer's number and its sums alone."""
        n = len(sums.offers)
        prepared = PreparedArms(np.empty((self.draws, n), dtype=np.float32), np.empty(n))
        return self._fill(prepared, sums, np.arange(n))

    def refresh(self, prepared: PreparedArms, sums: Sums, rows: NDArray[np.intp]) -> PreparedArms:
        """Draw anew for ``rows`` only, in place: the caller owns ``prepared``."""
        return self._fill(prepared, sums, rows)

    def _fill(self, prepared: PreparedArms, sums: Sums, rows: NDArray[np.intp]) -> PreparedArms:
        posterior = self.posterior(sums.own[rows])
        prepared.ratio[rows] = posterior.ratio
        for k, row in enumerate(rows.tolist()):
            # Seeded by number and sums: every process and every replay draws the same for the same arm.
            generator = np.random.Generator(np.random.PCG64(_seed(int(sums.offers[row]), sums.own[row])))
            theta = generator.beta(posterior.alpha[k], posterior.beta[k], size=self.draws)
            theta = np.clip(theta, MIN_CHANCE, 1 - MIN_CHANCE)
            prepared.draws[:, row] = theta / (1.0 - theta) / posterior.expected_odds[k]
        return prepared

    def propensities(self, prepared: PreparedArms, candidates: Candidates) -> FloatArray:
        """Return the customer's propensities at the arms' posterior means."""
        return odds_to_probability(self.odds(candidates) * prepared.ratio)

    def selector(self, prepared: PreparedArms, candidates: Candidates) -> Distribution:
        """Count the draws that each available candidate's ``p x weight`` wins, and mix in the floor."""
        scores = prepared.draws * self.odds(candidates).astype(np.float32)
        scores /= scores + np.float32(1.0)
        return win_frequencies(scores, candidates.weight, self.epsilon)


def _seed(offer: int, state: FloatArray) -> int:
    """Return a seed that changes with the sums, and is the same for the same sums."""
    return int.from_bytes(offer.to_bytes(4, "little") + state.astype("<f8").tobytes(), "little")
