"""``thompson``: Beta-Bernoulli Thompson sampling on offers, personalised by precomputed propensities.

Thompson, *On the likelihood that one unknown probability exceeds another*, Biometrika 25 (1933); Chapelle and Li,
*An empirical evaluation of Thompson sampling*, NIPS 2011.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.decay import ForwardDecay
from bandits.exploration import with_floor
from bandits.features import NO_ENCODER
from bandits.parameters import in_range, known_parameters, no_features, whole_in_range
from bandits.policy import (
    BoolArray,
    Candidates,
    Distribution,
    FloatArray,
    IntArray,
    Observation,
    PolicySpec,
    Sums,
)

DAY_S = 86_400.0
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class PreparedArms:
    """Posterior draws of each arm's odds ratio, ready to be joined with a customer's odds.

    ``draws``: shape ``(K, n)``, float32. ``ratio``: shape ``(n,)``, the same at the posterior mean.
    """

    draws: NDArray[np.float32]
    ratio: FloatArray


class ThompsonPolicy:
    r"""One Beta arm an offer; the precomputed propensity is the prior of a customer's estimate.

    An arm keeps three decayed sums: ``n`` observations, ``s`` acceptances, and ``e``, the acceptances that the
    precomputed propensities *expected* of those same observations (``q0`` where there was none). With the prior
    strength ``m`` (in observations), the mean propensity of those who were shown the offer, and the
    level at which they really accept, are

    .. math::  \bar e = \frac{m q_0 + e}{m + n}, \qquad
               \theta \sim \mathrm{Beta}(m \bar e + s,\; m (1 - \bar e) + n - s)

    and a customer with the precomputed propensity ``q`` is estimated by shifting its odds as far as the evidence
    says that the propensities are off for this offer:

    .. math::  \mathrm{odds}(p) = \mathrm{odds}(q) \cdot \frac{\mathrm{odds}(\theta)}{\mathrm{odds}(\bar e)}

    Why not add ``m q`` to the customer's own Beta prior: then evidence, which is about the offer and not about this
    customer, would drown the customer's propensity, and after some thousand observations everybody would get the same
    ranking. Here evidence is weighted ``n : m`` against the prior in the *level* only. With no evidence the
    estimate is ``q``; without propensities it is the plain Beta-Bernoulli arm with the prior
    ``Beta(m q0, m (1 - q0))``; with much evidence the level is the observed one and the customers' order is kept.
    Shifting odds is the correction for a changed base rate of Saerens, Latinne and Decaestecker, *Adjusting the
    outputs of a classifier to new a priori probabilities*, Neural Computation 14 (2002).

    Selection: in ``draws`` joint draws from all arms' posteriors, how often does each candidate's
    ``p x weight`` win? Those frequencies, mixed with a floor, *are* the distribution (see ``exploration.with_floor``).

    Parameters
    ----------
    strength : float
        ``m``, in observations. Default 20.
    default_propensity : float
        ``q0``. Default 0.05.
    half_life_days : float
        Observations lose half of their weight in this time; 0 never forgets. Default 90.
    epsilon : float
        The share of choices spread evenly over all candidates. Default 0.05.
    draws : int
        ``K``, the number of joint draws. Default 128.
    """

    width = 3
    shared = False
    encoder = NO_ENCODER

    def __init__(self, spec: PolicySpec) -> None:
        parameters = spec.parameters
        no_features("thompson", spec.features)
        known_parameters(
            "thompson", parameters, ("strength", "default_propensity", "half_life_days", "epsilon", "draws")
        )
        self.name = spec.name
        self.version = spec.version
        self.strength = in_range("strength", parameters.get("strength", 20.0), 0.1, 1e6)
        self.default = in_range(
            "default_propensity", parameters.get("default_propensity", 0.05), 1e-4, 0.9999
        )
        half_life_days = in_range("half_life_days", parameters.get("half_life_days", 90.0), 0.0, 36_500.0)
        self.decay = ForwardDecay(half_life_days * DAY_S if half_life_days else None)
        self.epsilon = in_range("epsilon", parameters.get("epsilon", 0.05), 1e-4, 1.0)
        self.draws = whole_in_range("draws", parameters.get("draws", 128), 8, 4096)

    def learn(self, observation: Observation) -> FloatArray:
        """``(n, s, e)`` of one observation: one, its reward, and what had been expected of it."""
        expected = self.default if np.isnan(observation.prior) else observation.prior
        return np.array([1.0, observation.reward, expected])

    def prepare(self, sums: Sums) -> PreparedArms:
        """Draw from the posterior of each arm. The draws depend on the offer's number and its sums alone."""
        prepared = PreparedArms(
            np.empty((self.draws, len(sums.offers)), dtype=np.float32), np.empty(len(sums.offers))
        )
        self._fill(prepared, sums.offers, sums.own, np.arange(len(sums.offers)))
        return prepared

    def refresh(self, prepared: PreparedArms, sums: Sums, rows: NDArray[np.intp]) -> PreparedArms:
        """Draw anew for ``rows`` only, in place: the caller owns ``prepared``."""
        self._fill(prepared, sums.offers, sums.own, rows)
        return prepared

    def _fill(
        self, prepared: PreparedArms, offers: IntArray, state: FloatArray, rows: NDArray[np.intp]
    ) -> None:
        n, s, e = np.maximum(state[rows], 0.0).T
        s = np.minimum(s, n)
        expected = np.clip((self.strength * self.default + e) / (self.strength + n), _TINY, 1 - _TINY)
        alpha = self.strength * expected + s
        beta = self.strength * (1.0 - expected) + n - s
        expected_odds = expected / (1.0 - expected)
        prepared.ratio[rows] = alpha / beta / expected_odds
        for k, row in enumerate(rows.tolist()):
            generator = np.random.Generator(np.random.PCG64(_seed(int(offers[row]), state[row])))
            theta = np.clip(generator.beta(alpha[k], beta[k], size=self.draws), _TINY, 1 - _TINY)
            prepared.draws[:, row] = theta / (1.0 - theta) / expected_odds[k]

    def _odds(self, candidates: Candidates) -> FloatArray:
        prior = candidates.prior.astype(np.float64)
        prior = np.where(np.isnan(prior), self.default, np.clip(prior, _TINY, 1 - _TINY))
        odds: FloatArray = prior / (1.0 - prior)
        return odds

    def propensities(self, prepared: PreparedArms, candidates: Candidates) -> FloatArray:
        """The customer's propensities at the arms' posterior means."""
        odds = self._odds(candidates) * prepared.ratio
        return odds / (1.0 + odds)

    def selector(self, prepared: PreparedArms, candidates: Candidates) -> Distribution:
        """How often each available candidate's ``p x weight`` wins over the joint draws, mixed with the floor."""
        scores = prepared.draws * self._odds(candidates).astype(np.float32)
        scores /= scores + np.float32(1.0)
        weight = candidates.weight.astype(np.float32)
        scores *= weight

        def distribution(available: BoolArray) -> FloatArray:
            if not weight[available].any():  # every draw is a tie
                return with_floor(available.astype(np.float64), available, self.epsilon)
            contest = scores if available.all() else np.where(available, scores, np.float32(-1.0))
            wins = np.bincount(np.argmax(contest, axis=1), minlength=len(candidates))
            return with_floor(wins.astype(np.float64), available, self.epsilon)

        return distribution


def _seed(offer: int, state: FloatArray) -> int:
    """Fresh draws whenever the sums change, the same draws for the same sums."""
    return int.from_bytes(offer.to_bytes(4, "little") + state.astype("<f8").tobytes(), "little")
