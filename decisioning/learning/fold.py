"""The outcomes of the log that a policy learns from, and the rewards that they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bandits.policy import Facts, FloatArray, Observation, Policy, PolicySpec
from bandits.regression.linearisation import LinearisationPoints
from bandits.regression.regression_policy import RegressionPolicy
from bandits.sequential_policy import SequentialPolicy, is_sequential, teach_skipping_failures
from bandits.state import fold_observations
from decisioning.model.deciders import CALLER
from decisioning.model.outcome import Outcome

Observed = tuple[Observation, float]
"""An observation, and the time it counts for (Unix seconds)."""
_Change = tuple[float, int] | None
"""An amount, and the time (Unix ms) that it counts for."""


@dataclass(frozen=True, slots=True)
class Linearisation:
    """Points at which a generation of arms linearises: decisions before ``until_ms`` (Unix ms) at ``points``.

    Later ones are linearised at the estimates that were logged with them. It goes by the time of the decision alone, so
    silence and the acceptance that it is exchanged for are always linearised at one point.
    """

    until_ms: int
    points: LinearisationPoints

    def moved(self, observation: Observation, decided_at_ms: int, policy: Policy) -> Observation:
        """Return the observation with the estimate at which it is to be linearised."""
        if decided_at_ms >= self.until_ms or not isinstance(policy, RegressionPolicy):
            return observation
        return replace(observation, estimate=self.points.estimate(policy, observation))


class Observer:
    """Makes observations of outcomes, as one policy learns from them. ``linearisation``: of its arms' generation."""

    def __init__(self, spec: PolicySpec, policy: Policy, linearisation: Linearisation | None = None) -> None:
        self._spec = spec
        self._policy = policy
        self._linearisation = linearisation
        self._source = getattr(policy, "propensity_source", None)
        self._encoded: tuple[Facts, int, FloatArray] | None = None

    def observe(self, outcome: Outcome) -> Observed | None:
        """Make an observation of an outcome; ``None`` if nothing is learned."""
        # Only offers that were presented have a reward in the log.
        if outcome.reward is None or outcome.late:
            return None
        spec, reward, at_ms = self._spec, outcome.reward, outcome.at_ms
        if spec.reward_window_s is not None:
            ends_ms = outcome.decided_at_ms + spec.reward_window_s * 1000
            # An answer that took longer than the policy's own window is silence to it, known at the end of that window.
            if at_ms > ends_ms:
                reward, at_ms = 0.0, ends_ms
        if reward and spec.learn_from == "value":
            # What was told with the acceptance, else what the decision took the offer's value to be.
            worth = outcome.worth if outcome.value is None else outcome.value
            if worth != worth:
                return None  # nobody knows what it was worth
            reward *= min(max(worth / spec.value_scale, 0.0), 1.0)
        return self.observe_reward(outcome, reward, at_ms)

    def observe_silence(self, outcome: Outcome, at_ms: int) -> Observed | None:
        """Make the observation that nothing came of an offer, which counts for the time ``at_ms`` (Unix ms)."""
        if self._spec.reward_window_s is not None:
            at_ms = min(at_ms, outcome.decided_at_ms + self._spec.reward_window_s * 1000)
        return self.observe_reward(outcome, 0.0, at_ms)

    def observe_reward(self, outcome: Outcome, reward: float, at_ms: int) -> Observed | None:
        """Make an observation of a reward; ``None`` if the policy does not learn from decisions like this one."""
        spec, policy = self._spec, self._policy
        if outcome.decided_at_ms < spec.learn_since_ms:
            return None
        if spec.placements and outcome.placement not in spec.placements:
            return None
        x = self._encode(outcome.facts, outcome.decided_at_ms)
        # Where the caller's own choice was answered, each of its offers is an example of what the caller chooses.
        by_caller = outcome.policy == CALLER
        base_propensity = outcome.base_propensity
        if self._source is not None:
            base_propensity = self._source.propensity(outcome.facts, outcome.offer, base_propensity)
        seen = Observation(
            outcome.offer, reward, base_propensity, x, outcome.estimate, outcome.facts, by_caller
        )
        if self._linearisation is not None:
            seen = self._linearisation.moved(seen, outcome.decided_at_ms, policy)
        return seen, at_ms / 1000.0

    def _encode(self, facts: Facts, at_ms: int) -> FloatArray:
        # The outcomes of a decision follow each other, and share its facts.
        if (latest := self._encoded) is None or latest[0] is not facts or latest[1] != at_ms:
            self._encoded = latest = facts, at_ms, self._policy.encoder.encode(facts, at_ms)
        return latest[2]


def _revision(outcome: Outcome) -> tuple[_Change, _Change]:
    """Return what an outcome adds to what was earned, and what it takes back: each an amount, and a time (Unix ms).

    Where it earns nothing of its own, an acceptance earns 1, and all else nothing.
    """
    if (earned := outcome.earned) is not None:
        if earned.before == earned.after:
            return None, None
        before = None if earned.before is None else (earned.before, earned.since_ms)
        return (earned.after, earned.since_ms), before
    since_ms, reward = outcome.silence_ms, None if outcome.late else outcome.reward
    if since_ms is None:
        return None if reward is None else (reward, outcome.at_ms), None
    if outcome.shows:
        return (0.0, since_ms), None
    if outcome.outcome == "expired" or reward == 0.0:
        return None, None  # silence stands
    return None if reward is None else (reward, since_ms), (0.0, since_ms)


def contributions_of(
    outcomes: Iterable[Outcome],
    spec: PolicySpec,
    policy: Policy,
    linearisation: Linearisation | None = None,
) -> tuple[list[Observed], list[Observed]]:
    """Make the observations to add of outcomes, and those to take back.

    That nothing came of an offer counts as soon as it was shown, for the time of that. An acceptance is exchanged for
    it, at the same time, so that what is rewarded weighs as much as what is not, however late it comes. So is, for a
    policy that learns what outcomes earn, each amount for the one before it.
    """
    observer = Observer(spec, policy, linearisation)
    added: list[Observed] = []
    taken_back: list[Observed] = []
    for outcome in outcomes:
        if spec.learn_from == "earned":
            for change, counted in zip(_revision(outcome), (added, taken_back), strict=True):
                if change is not None:
                    found = observer.observe_reward(outcome, spec.reward_of(change[0]), change[1])
                    if found is not None:
                        counted.append(found)
            continue
        since_ms = outcome.silence_ms
        if since_ms is None:
            found = observer.observe(outcome)
        elif outcome.shows:
            found = observer.observe_silence(outcome, since_ms)
        else:
            silence = observer.observe_silence(outcome, since_ms)
            found = observer.observe(outcome)
            if silence is None or (found is not None and found[0].reward == 0.0):
                continue  # it stands
            if outcome.outcome == "expired":
                continue
            taken_back.append(silence)
            found = None if found is None else (found[0], since_ms / 1000.0)
        if found is not None:
            added.append(found)
    return added, taken_back


def _observations_in_order(
    outcomes: Iterable[Outcome], spec: PolicySpec, policy: SequentialPolicy
) -> list[Observed]:
    """Make the observations of outcomes for a policy that cannot take back what it was taught.

    If it weighs, it learns silence when an offer was shown, and only acceptances after that. Else it learns when the
    window closes, as it does of records of earlier versions.
    """
    observer, seen = Observer(spec, policy), []
    for outcome in outcomes:
        found = observer.observe(outcome)
        if outcome.silence_ms is not None and policy.weighs:
            if outcome.shows:
                silence = observer.observe_silence(outcome, outcome.silence_ms)
                found = None if silence is None else (replace(silence[0], provisional=True), silence[1])
            elif found is not None and found[0].reward == 0.0:
                found = None
        if found is not None:
            seen.append(found)
    return seen


def in_order(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Outcomes in the one order in which sequential policies are taught those of one fold.

    By the time they happened; of those at the same moment, as the log has them.
    """
    return sorted(outcomes, key=lambda o: (o.at_ms, o.bucket, *o.position.parts, o.offer, o.outcome))


def teach_outcomes(
    outcomes: Iterable[Outcome], spec: PolicySpec, policy: SequentialPolicy, model: Any
) -> tuple[int, list[Exception]]:
    """Teach a model outcomes, in their order; returns how many there were to learn from, and on what it failed."""
    seen = _observations_in_order(outcomes, spec, policy)
    return len(seen), teach_skipping_failures(policy, model, seen)


def teaches(outcome: Outcome, spec: PolicySpec, policy: Policy) -> bool:
    """Return whether an outcome changes what a policy knows: it adds to that, or takes something back."""
    if is_sequential(policy):
        return bool(_observations_in_order([outcome], spec, policy))
    return any(contributions_of([outcome], spec, policy))


def fold_outcomes(
    outcomes: Iterable[Outcome],
    spec: PolicySpec,
    policy: Policy,
    linearisation: Linearisation | None = None,
) -> tuple[Mapping[str, FloatArray], int]:
    """Sum up what outcomes add to a policy's arms, by field, and how many of them taught it something.

    ``linearisation``: of the arms' generation, if it has one.
    """
    added, taken_back = contributions_of(outcomes, spec, policy, linearisation)
    sums = dict(fold_observations(policy, added))
    for name, delta in fold_observations(policy, taken_back).items():
        sums[name] = sums[name] - delta if name in sums else -delta
    return sums, len(added)
