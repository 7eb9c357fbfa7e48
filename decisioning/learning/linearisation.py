"""Passes over the log that linearise a policy's contributions where its own posterior says, until that stands."""

from collections import defaultdict
from collections.abc import Iterable

from bandits.policy import Observation, PolicySpec
from bandits.regression.linearisation import largest_move, linearisation_points
from bandits.regression.regression_policy import RegressionPolicy
from bandits.state import ArmTable, fold_observations
from bandits.sums import OfferGroups
from decisioning.learning.fold import Linearisation, contributions_of
from decisioning.model.outcome import Outcome

MAX_PASSES = 5
STANDS = 1e-3
"""Estimates that move by less stand."""
SAMPLE_OF_OFFER = 100
"""Observations of each offer by which moves are judged."""


class Relinearisation:
    """Folds the outcomes that it is given into ``table``, pass by pass, each time at the posterior of the pass before.

    ``until_ms``: the time (Unix ms) of the posteriors; decisions before it are linearised anew. ``linearisation``: that
    of the present pass; the first one has what the arms have already, or ``None``. ``groups``: of all offers now, for a
    policy that learns by them.
    """

    def __init__(
        self,
        spec: PolicySpec,
        policy: RegressionPolicy,
        until_ms: int,
        before: Linearisation | None = None,
        groups: OfferGroups | None = None,
    ) -> None:
        self._spec, self._policy = spec, policy
        self._until_ms = until_ms
        self._groups = groups
        self.linearisation = before
        self.table = ArmTable(policy.width)
        self.passes = 1
        self._sample: defaultdict[int, list[Observation]] = defaultdict(list)

    def fold(self, outcomes: Iterable[Outcome]) -> int:
        """Fold outcomes into the arms of this pass; returns how many taught something."""
        added, taken_back = contributions_of(outcomes, self._spec, self._policy, self.linearisation)
        for name, delta in fold_observations(self._policy, added).items():
            self.table.add(name, delta)
        for name, delta in fold_observations(self._policy, taken_back).items():
            self.table.add(name, -delta)
        if self.passes == 1:
            for seen, _ in added:
                of_offer = self._sample[seen.offer]
                if len(of_offer) < SAMPLE_OF_OFFER:
                    of_offer.append(seen)
        return len(added)

    def end_pass(self) -> bool:
        """End a pass: True if the estimates stand, and ``table`` with them; else another pass begins."""
        if self.passes >= MAX_PASSES:
            return True
        points = linearisation_points(self._policy, self.table, self._until_ms / 1000.0, self._groups)
        sample = [seen for of_offer in self._sample.values() for seen in of_offer]
        before = None if self.linearisation is None or self.passes == 1 else self.linearisation.points
        if largest_move(self._policy, before, points, sample) < STANDS:
            return True
        self.linearisation = Linearisation(self._until_ms, points)
        self.table = ArmTable(self._policy.width)
        self.passes += 1
        return False
