"""Measures how a policy would have expected the outcomes of the log, had it always forgotten as it does now. Pure.

Each outcome is expected before it is learned (Dawid, *Present position and potential developments*, JRSS A 147, 1984),
so that models that differ in what they forget can be compared on what came after, by ``bandits.monitoring``.

Acceptances come at once, or late, and silence is known when a window closes: recent outcomes look worse than they will
turn out. So all that is counted here is what was accepted within a *horizon*, the same for old decisions and new ones,
and decisions younger than that are left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bandits.policy import Candidates, FloatArray, Observation, PolicySpec
from bandits.regression.regression_policy import RegressionPolicy
from bandits.state import ArmTable, fold_observations
from bandits.sums import OfferGroups
from decisioning.learning.fold import Linearisation, contributions_of
from decisioning.model.outcome import Outcome

BATCH = 50
"""Examples that are expected at once, before the first of them is learned."""
_LEAST_CHANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Example:
    """A decided offer that was shown, and what came of it within the horizon; ``at_s``: when it counts, Unix s."""

    observation: Observation
    decided_at_ms: int
    at_s: float


def examples_of(outcomes: Iterable[Outcome], spec: PolicySpec, policy: RegressionPolicy) -> list[Example]:
    """Make examples of outcomes, in the order of the decisions; the horizon is the ``reward_window_s`` of ``spec``."""
    of_offer: defaultdict[tuple[int, str, int], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        of_offer[(outcome.decided_at_ms, outcome.decision_id, outcome.offer)].append(outcome)
    found = []
    for key in sorted(of_offer):
        added, taken_back = contributions_of(of_offer[key], spec, policy)
        if len(added) > len(taken_back):  # else what was shown was withdrawn
            observation, at_s = max(added, key=lambda made: made[0].reward)
            found.append(Example(observation, key[0], at_s))
    return found


class PrequentialModel:
    """A policy with arms of its own, which expects outcomes before it learns them.

    It linearises where it expects itself, as it would if it decided; what was decided before the first example (see
    ``fold``) where the log, or a ``linearisation``, says.
    """

    def __init__(self, spec: PolicySpec, policy: RegressionPolicy, groups: OfferGroups | None = None) -> None:
        self._groups = groups
        self._since_ms = spec.learn_since_ms
        self._policy = policy
        self._table = ArmTable(policy.width)

    def fold(
        self,
        added: Iterable[tuple[Observation, float]],
        taken_back: Iterable[tuple[Observation, float]],
    ) -> None:
        """Learn observations that are not to be expected, as ``contributions_of`` makes them."""
        for name, delta in fold_observations(self._policy, added).items():
            self._table.add(name, delta)
        for name, delta in fold_observations(self._policy, taken_back).items():
            self._table.add(name, -delta)

    def chances(self, examples: Sequence[Example]) -> FloatArray:
        """Expect and learn examples in their order; return the chance of each, NaN where it learns nothing yet."""
        found = np.full(len(examples), np.nan)
        first = next(
            (n for n, seen in enumerate(examples) if seen.decided_at_ms >= self._since_ms), len(examples)
        )
        for start in range(first, len(examples), BATCH):
            batch = examples[start : start + BATCH]
            expected = self._expect(batch)
            found[start : start + len(batch)] = expected
            self.fold(
                [
                    (replace(seen.observation, estimate=chance), seen.at_s)
                    for seen, chance in zip(batch, expected.tolist(), strict=True)
                ],
                (),
            )
        return found

    def _expect(self, batch: Sequence[Example]) -> FloatArray:
        """Return the chances of a batch: shape ``(len(batch),)``."""
        policy = self._policy
        offers = np.unique(np.array([seen.observation.offer for seen in batch], dtype=np.uint32))
        rows = {number: row for row, number in enumerate(offers.tolist())}
        tick = policy.decay.tick(batch[0].at_s)
        prepared = policy.prepare(self._table.read(policy, offers, tick, groups=self._groups))
        weight = np.ones(len(offers))
        chances = np.empty(len(batch))
        for place, seen in enumerate(batch):
            known = seen.observation
            base_propensity = np.full(len(offers), known.base_propensity, dtype=np.float32)
            candidates = Candidates(offers, base_propensity, weight, known.x, known.facts)
            chances[place] = policy.propensities(prepared, candidates)[rows[known.offer]]
        return np.clip(chances, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)


def fold_before(
    models: Sequence[PrequentialModel],
    outcomes: Iterable[Outcome],
    spec: PolicySpec,
    policy: RegressionPolicy,
    linearisation: Linearisation | None,
) -> None:
    """Teach models outcomes of decisions before the first example; ``spec``: what they learn from, and the horizon."""
    added, taken_back = contributions_of(outcomes, spec, policy, linearisation)
    for model in models:
        model.fold(added, taken_back)
