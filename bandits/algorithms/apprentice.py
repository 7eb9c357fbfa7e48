"""``apprentice``: does what the caller would do, until the evidence says that something else is better.

Staying with a known baseline where evidence is thin is safe policy improvement; the idea is that of Laroche, Trichelair
and Tachet des Combes, *Safe policy improvement with baseline bootstrapping*, ICML 2019.
"""

from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.algorithms.imitation import CallerChoiceModel, PreparedCallerChoice
from bandits.algorithms.posterior_summary import PosteriorSummary, summarise_posterior
from bandits.parameters import in_range, known_parameters
from bandits.policy import (
    BoolArray,
    Candidates,
    Distribution,
    FloatArray,
    IntArray,
    Observation,
    Policy,
    PolicySpec,
    Sums,
)
from bandits.sampling import with_floor

DEFAULT_CAUTION = 4.0
QUANTILE_COUNT = 256
"""Into how many slices of equal probability a posterior is cut to be compared with another one."""


@dataclass(frozen=True, slots=True)
class PreparedApprentice:
    """``learner``: what ``calibrated`` prepared; ``likeness``: what is needed to tell the caller's choice."""

    learner: Any
    likeness: PreparedCallerChoice


class ApprenticePolicy:
    r"""Imitates the caller, then beats it.

    Two models side by side. ``calibrated`` learns from rewards how likely each offer is to be accepted, and
    ``bandits.algorithms.imitation`` from the caller's own choices (``Observation.by_caller``) what the caller does
    for whom. Of the offers that are available, let ``b`` be what the caller would most likely choose, ``m`` the one
    with the highest expected score (propensity times weight), and ``q`` the posterior probability that ``m`` scores
    above ``b``. The distribution is

    .. math::  (1 - \epsilon) \left( \lambda\, 1_b + (1 - \lambda)\, w \right) + \epsilon / n, \qquad
        \lambda = \min(1, \mathrm{caution} \cdot (1 - q))

    with ``w`` the win frequencies of ``calibrated`` (``lambda = 1`` where ``m`` is ``b``). ``q`` is taken at the whole
    posterior deviation, whatever ``exploration`` is: the medians of 256 slices of equal probability of the one
    score are compared with those of the other, pair by pair. So it is exact, and nothing is drawn.

    Where the caller never chose any of the offers that are available, it is ``calibrated``.

    Parameters
    ----------
    caution : float
        How sure it has to be before it departs from the caller. It begins to where ``q > 1 - 1 / caution``; 0 never
        does what the caller would do for its own sake. Default 4.

    And those of ``CalibratedPolicy``.
    """

    algorithm: ClassVar[str] = "apprentice"
    shared = True
    imitates = True

    def __init__(self, spec: PolicySpec) -> None:
        known = {
            **CalibratedPolicy.common_parameters,
            **CalibratedPolicy.own_parameters,
            "caution": DEFAULT_CAUTION,
        }
        known_parameters(self.algorithm, spec.parameters, tuple(known))
        given = dict(spec.parameters)
        self.caution = in_range("caution", given.pop("caution", DEFAULT_CAUTION), 0.0, 1e6)
        self.learner = CalibratedPolicy(replace(spec, parameters=given))
        self.imitation = CallerChoiceModel(self.learner.encoder.width)
        self.parameters = {**self.learner.parameters, "caution": self.caution}
        self.name = spec.name
        self.version = spec.version
        self.width = self.learner.width + self.imitation.width
        self.epsilon = self.learner.epsilon
        self.decay = self.learner.decay
        self.encoder = self.learner.encoder
        normal = NormalDist()
        self._medians = np.array([normal.inv_cdf((k + 0.5) / QUANTILE_COUNT) for k in range(QUANTILE_COUNT)])

    def learn(self, observation: Observation) -> FloatArray:
        """What ``calibrated`` learns from it, and, if the caller chose the offer, for which request it did."""
        chosen = np.zeros(self.imitation.width)
        if observation.by_caller:
            chosen = self.imitation.contribution(observation.x)
        return np.concatenate((self.learner.learn(observation), chosen))

    def prepare(self, sums: Sums) -> PreparedApprentice:
        """Both models."""
        learner = self.learner.prepare(self._of_rewards(sums))
        return PreparedApprentice(learner, self.imitation.prepare(*self._of_choices(sums)))

    def refresh(self, prepared: PreparedApprentice, sums: Sums, rows: NDArray[np.intp]) -> PreparedApprentice:
        """``rows`` anew in both; all of them only when the scale of a column changed."""
        learner = self.learner.refresh(prepared.learner, self._of_rewards(sums), rows)
        likeness = self.imitation.refresh(prepared.likeness, *self._of_choices(sums), rows)
        return PreparedApprentice(learner, likeness)

    def propensities(self, prepared: PreparedApprentice, candidates: Candidates) -> FloatArray:
        """What ``calibrated`` expects of each, whoever would choose it."""
        return self.learner.propensities(prepared.learner, candidates)

    def selector(self, prepared: PreparedApprentice, candidates: Candidates) -> Distribution:
        """The caller's choice as far as nothing is known to be better, else that of ``calibrated``."""
        free = cache(lambda: self.learner.selector(prepared.learner, candidates))
        chosen = prepared.likeness.chosen
        if not chosen.any():
            return free()
        alike = self.imitation.scores(prepared.likeness, candidates.x)
        mean, deviation = self.learner.predict(prepared.learner, candidates)
        score, weight, offers = self.learner.link.score, candidates.weight, candidates.offers
        expected = score(mean) * weight

        def drawn(row: int) -> FloatArray:
            values: FloatArray = score(mean[row] + deviation[row] * self._medians) * weight[row]
            return values

        def distribution(available: BoolArray) -> FloatArray:
            known = available & chosen
            if not known.any():
                return free()(available)
            theirs, best = row_of_highest(alike, offers, known), row_of_highest(expected, offers, available)
            stays = with_floor(1.0 * (np.arange(len(offers)) == theirs), available, self.epsilon)
            if not expected[best] > expected[theirs]:
                return stays
            share = min(1.0, self.caution * (1.0 - share_of_pairs_above(drawn(best), drawn(theirs))))
            return stays if share == 1.0 else share * stays + (1.0 - share) * free()(available)

        return distribution

    def posterior_summary(self, sums: Sums) -> PosteriorSummary | None:
        """What ``calibrated`` believes."""
        return summarise_posterior(self.learner, self._of_rewards(sums))

    def _of_rewards(self, sums: Sums) -> Sums:
        """The part of ``calibrated``."""
        width = self.learner.width
        return Sums(sums.offers, sums.own[:, :width], sums.shared[:width])

    def _of_choices(self, sums: Sums) -> tuple[FloatArray, FloatArray]:
        """The part of the imitation: sums of each offer, and of all."""
        width = self.learner.width
        return sums.own[:, width:], sums.shared[width:]


def imitates_caller(policy: Policy) -> bool:
    """Whether a policy learns to do what the caller does. One from elsewhere that does so says ``imitates = True``."""
    return getattr(policy, "imitates", False) is True


def row_of_highest(values: FloatArray, offers: IntArray, among: BoolArray) -> int:
    """The row of the highest value among some; of equals that of the offer with the lowest number."""
    rows = np.flatnonzero(among)
    highest = rows[values[rows] == values[rows].max()]
    return int(highest[np.argmin(offers[highest])])


def share_of_pairs_above(one: FloatArray, other: FloatArray) -> float:
    """The share of all pairs in which a number of ``one`` lies above a number of ``other``; both are sorted."""
    return float(np.searchsorted(other, one, side="left").sum()) / (len(one) * len(other))
