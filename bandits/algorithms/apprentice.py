"""``apprentice``: imitates the caller's own choices until the evidence says that another offer is better.

Staying with a known baseline where evidence is thin is safe policy improvement; the idea is that of Laroche, Trichelair
and Tachet des Combes, *Safe policy improvement with baseline bootstrapping*, ICML 2019.
"""

from dataclasses import dataclass, replace
from functools import cache
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
from bandits.sampling import normal_quantiles, with_floor

DEFAULT_CAUTION = 4.0
QUANTILE_COUNT = 256
"""Into how many slices of equal probability a posterior is cut to be compared with another one."""


@dataclass(frozen=True, slots=True)
class PreparedApprentice:
    """Both prepared models: ``learner`` is that of ``calibrated``, ``caller_choice`` that of the imitation."""

    learner: Any
    caller_choice: PreparedCallerChoice


class ApprenticePolicy:
    r"""Stays with the caller's choice, and departs from it as the evidence grows that another offer is better.

    Two models side by side. ``calibrated`` learns from rewards how likely each offer is to be accepted, and
    ``bandits.algorithms.imitation`` from the caller's own choices (``Observation.by_caller``) what the caller does
    for whom. Of the offers that are available, let ``b`` be what the caller would most likely choose, ``m`` the one
    with the highest expected score (propensity times weight), and ``q`` the posterior probability that ``m`` scores
    above ``b``. The distribution is

    .. math::  (1 - \epsilon) \left( \lambda\, 1_b + (1 - \lambda)\, w \right) + \epsilon / n, \qquad
        \lambda = \min(1, \mathrm{caution} \cdot (1 - q))

    with ``w`` the win frequencies of ``calibrated`` (``lambda = 1`` where ``m`` is ``b``). ``q`` is taken at the whole
    posterior deviation, whatever ``exploration`` is: the medians of 256 slices of equal probability of the one
    score are compared with those of the other, pair by pair.

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
        learned = {**CalibratedPolicy.common_parameters, **CalibratedPolicy.own_parameters}
        known_parameters(self.algorithm, spec.parameters, (*learned, "caution"))
        given = dict(spec.parameters)
        self.caution = in_range("caution", given.pop("caution", DEFAULT_CAUTION), 0.0, 1e6)
        self.learner = CalibratedPolicy(replace(spec, parameters=given))
        self.caller_model = CallerChoiceModel(self.learner.encoder.width)
        self.parameters = {**self.learner.parameters, "caution": self.caution}
        self.name = spec.name
        self.version = spec.version
        self.width = self.learner.width + self.caller_model.width
        self.epsilon = self.learner.epsilon
        self.by_group = self.learner.by_group
        self.decay = self.learner.decay
        self.encoder = self.learner.encoder
        self._medians = normal_quantiles(QUANTILE_COUNT)

    def learn(self, observation: Observation) -> FloatArray:
        """Return the contributions to both models; that to the imitation is 0 unless the caller chose."""
        model = self.caller_model
        chosen = model.contribution(observation.x) if observation.by_caller else np.zeros(model.width)
        return np.concatenate((self.learner.learn(observation), chosen))

    def prepare(self, sums: Sums) -> PreparedApprentice:
        """Prepare both models."""
        learner = self.learner.prepare(self._of_rewards(sums))
        return PreparedApprentice(learner, self.caller_model.prepare(*self._of_choices(sums)))

    def refresh(self, prepared: PreparedApprentice, sums: Sums, rows: NDArray[np.intp]) -> PreparedApprentice:
        """Prepare ``rows`` anew in both models; all rows only where the scale of a column changed."""
        learner = self.learner.refresh(prepared.learner, self._of_rewards(sums), rows)
        caller_choice = self.caller_model.refresh(prepared.caller_choice, *self._of_choices(sums), rows)
        return PreparedApprentice(learner, caller_choice)

    def propensities(self, prepared: PreparedApprentice, candidates: Candidates) -> FloatArray:
        """Return the propensities of ``calibrated``; the caller's choice does not change them."""
        return self.learner.propensities(prepared.learner, candidates)

    def selector(self, prepared: PreparedApprentice, candidates: Candidates) -> Distribution:
        """Mix the caller's likely choice with ``calibrated``, by the evidence for departing from it."""
        # Only where the evidence allows departing is the choice of ``calibrated`` needed, and it costs the most.
        free = cache(lambda: self.learner.selector(prepared.learner, candidates))
        chosen = prepared.caller_choice.chosen
        if not chosen.any():
            return free()
        similarity = self.caller_model.scores(prepared.caller_choice, candidates.x)
        mean, deviation = self.learner.predict(prepared.learner, candidates)
        score, weight, offers = self.learner.link.score, candidates.weight, candidates.offers
        expected = score(mean) * weight

        def drawn(row: int) -> FloatArray:
            values: FloatArray = score(mean[row] + deviation[row] * self._medians) * weight[row]
            return values

        def distribution(available: BoolArray) -> FloatArray:
            known = available & chosen
            if not known.any():  # nothing to imitate among what is left
                return free()(available)
            theirs = row_of_highest(similarity, offers, known)
            best = row_of_highest(expected, offers, available)
            stays = with_floor(1.0 * (np.arange(len(offers)) == theirs), available, self.epsilon)
            if not expected[best] > expected[theirs]:
                return stays
            # Pairs of medians instead of draws: the same for every process, and exact.
            share = min(1.0, self.caution * (1.0 - share_of_pairs_above(drawn(best), drawn(theirs))))
            return stays if share == 1.0 else share * stays + (1.0 - share) * free()(available)

        return distribution

    def posterior_summary(self, sums: Sums) -> PosteriorSummary | None:
        """Summarise the posterior of ``calibrated``."""
        return summarise_posterior(self.learner, self._of_rewards(sums))

    def _of_rewards(self, sums: Sums) -> Sums:
        """Return the part of the sums that ``calibrated`` learned."""
        width = self.learner.width
        by_group = sums.by_group
        if by_group is not None:
            by_group = replace(by_group, sums=by_group.sums[:, :width])
        return Sums(sums.offers, sums.own[:, :width], sums.shared[:width], by_group=by_group)

    def _of_choices(self, sums: Sums) -> tuple[FloatArray, FloatArray]:
        """Return the part that the imitation learned: of each offer, and of all offers."""
        width = self.learner.width
        return sums.own[:, width:], sums.shared[width:]


def imitates_caller(policy: Policy) -> bool:
    """Return whether a policy learns to imitate the caller. A plugin that does so says ``imitates = True``."""
    return getattr(policy, "imitates", False) is True


def row_of_highest(values: FloatArray, offers: IntArray, among: BoolArray) -> int:
    """Return the row of the highest value among some rows; on a tie, that of the lowest offer number."""
    rows = np.flatnonzero(among)
    highest = rows[values[rows] == values[rows].max()]
    return int(highest[np.argmin(offers[highest])])


def share_of_pairs_above(one: FloatArray, other: FloatArray) -> float:
    """Return the share of all pairs in which the number of ``one`` is above that of ``other``; both are sorted."""
    return float(np.searchsorted(other, one, side="left").sum()) / (len(one) * len(other))
