"""Beta-Bernoulli arms personalised by precomputed propensities: the base of the policies on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bandits.features import NO_ENCODER
from bandits.parameters import decay_of_half_life, in_range, known_parameters, no_features
from bandits.policy import Candidates, FloatArray, Observation, PolicySpec

DAY_S = 86_400.0
MIN_CHANCE = 1e-6


@dataclass(frozen=True, slots=True)
class BetaPosterior:
    """The ``alpha``, ``beta`` of each arm's level, and the odds of its mean propensity. Shapes ``(n,)``."""

    alpha: FloatArray
    beta: FloatArray
    expected_odds: FloatArray

    @property
    def ratio(self) -> FloatArray:
        """The odds ratio of the mean level and what was expected."""
        return self.alpha / self.beta / self.expected_odds


class BetaArmsPolicy:
    r"""Keeps one Beta arm for each offer; the precomputed propensity is the prior of a customer's estimate.

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
    """

    algorithm: ClassVar[str]
    own_parameters: ClassVar[dict[str, Any]] = {}
    """The parameters that a subclass adds or changes, with their defaults."""

    common_parameters: ClassVar[dict[str, Any]] = {
        "strength": 20.0,
        "default_propensity": 0.05,
        "half_life_days": 90.0,
        "epsilon": 0.05,
    }
    width = 3
    shared = False
    encoder = NO_ENCODER

    def __init__(self, spec: PolicySpec) -> None:
        known = {**self.common_parameters, **self.own_parameters}
        no_features(self.algorithm, spec.features)
        known_parameters(self.algorithm, spec.parameters, tuple(known))
        self.name = spec.name
        self.version = spec.version
        self.parameters: dict[str, Any] = {**known, **spec.parameters}
        self.strength = self.number_in_range("strength", 0.1, 1e6)
        self.default = self.number_in_range("default_propensity", 1e-4, 0.9999)
        self.decay = decay_of_half_life(self.parameters["half_life_days"])
        self.epsilon = self.number_in_range("epsilon", 1e-4, 1.0)

    def number_in_range(self, name: str, low: float, high: float) -> float:
        """Return a parameter. Raises ``PolicyParameterError`` if it is out of its range."""
        return in_range(name, self.parameters[name], low, high)

    def learn(self, observation: Observation) -> FloatArray:
        """Return ``(n, s, e)`` of one observation: 1, its reward, and the acceptance that was expected."""
        expected = self.default if np.isnan(observation.base_propensity) else observation.base_propensity
        return np.array([1.0, observation.reward, expected])

    def learn_all(self, observations: Sequence[Observation]) -> FloatArray:
        """Return what ``learn`` returns for each, bit for bit: shape ``(m, 3)``."""
        expected = np.array([seen.base_propensity for seen in observations])
        rewards = np.array([seen.reward for seen in observations])
        expected = np.where(np.isnan(expected), self.default, expected)
        return np.column_stack((np.ones(len(observations)), rewards, expected))

    def posterior(self, own: FloatArray) -> BetaPosterior:
        """Return the posteriors of sums of shape ``(n, 3)``. Impossible sums count as the nearest possible."""
        n, s, e = np.maximum(own, 0.0).T
        s = np.minimum(s, n)
        expected = np.clip(
            (self.strength * self.default + e) / (self.strength + n), MIN_CHANCE, 1 - MIN_CHANCE
        )
        alpha = self.strength * expected + s
        beta = self.strength * (1.0 - expected) + n - s
        return BetaPosterior(alpha, beta, expected / (1.0 - expected))

    def odds(self, candidates: Candidates) -> FloatArray:
        """Return the odds of the precomputed propensities; those of the default where there is none."""
        # Odds of 0 or infinity could not be shifted by any evidence: hence the clip.
        base_propensity = candidates.base_propensity.astype(np.float64)
        base_propensity = np.where(
            np.isnan(base_propensity), self.default, np.clip(base_propensity, MIN_CHANCE, 1 - MIN_CHANCE)
        )
        odds: FloatArray = base_propensity / (1.0 - base_propensity)
        return odds


def odds_to_probability(odds: FloatArray) -> FloatArray:
    """Return ``odds / (1 + odds)``."""
    return odds / (1.0 + odds)
