"""Progressive validation: a policy walks through the log in the order of time, as if it had been there.

It learns from an outcome only when the log knew of it, so each decision is judged at the arms that it would have had
then (Blum, Kalai and Langford, *Beating the hold-out*, COLT 1999). Decisions that others logged are judged with
their probabilities (Li, Chu, Langford and Wang, *Unbiased offline evaluation of contextual-bandit-based news article
recommendation algorithms*, WSDM 2011; Dudík, Erhan, Langford and Li, *Sample-efficient nonstationary policy evaluation
for contextual bandits*, UAI 2012, for policies that change while they learn). Pure: the timer is given.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

from bandits.policy import NO_FACTS, Policy, PolicySpec
from bandits.sequential_policy import ModelState, is_learner, is_sequential
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.ranking import SelectionContext
from decisioning.evaluation.counterfactual import (
    CounterfactualDecision,
    Reward,
    judge_decision,
)
from decisioning.evaluation.estimates import Judgement
from decisioning.learning.fold import fold_outcomes, teach_outcomes
from decisioning.learning.replica import ArmReplica
from decisioning.model.decision import Decision, LoggedDecision
from decisioning.model.outcome import Outcome

Slots = Literal["first", "all"]
Key = tuple[str, int, int]
"""Decision id, its time (Unix ms), and the offer's number."""


@dataclass(slots=True)
class OutcomeIndex:
    """Outcomes of decided offers, as far as they are known. ``rewards``: reward, and its worth if known."""

    rewards: dict[Key, tuple[float, float | None]] = field(default_factory=dict)
    withdrawn: set[tuple[str, int]] = field(default_factory=set)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take in outcomes; those that say nothing of a reward are passed over."""
        for o in outcomes:
            if o.outcome == "withdrawn":
                self.withdrawn.add((o.decision_id, o.decided_at_ms))
            elif o.outcome == "closed" and o.reward is None:  # the answer was too late: nothing came in time
                self.rewards[o.decision_id, o.decided_at_ms, o.offer] = (0.0, 0.0)
            elif o.reward is not None and not o.late:
                worth = o.worth if o.value is None else o.value
                value = None if worth != worth else o.reward * worth  # NaN differs from itself: not known
                self.rewards[o.decision_id, o.decided_at_ms, o.offer] = (o.reward, value)

    def clear(self) -> None:
        """Forget all of it."""
        self.rewards.clear()
        self.withdrawn.clear()


@dataclass(slots=True)
class EvaluationRows(Judgement):
    """The rows that can be used, as columns, and how many could not be, by reason.

    ``facts``: the paths of all facts that were logged with any decision.
    """

    unit: list[int] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    logging_probability: list[float] = field(default_factory=list)
    target_probability: list[float] = field(default_factory=list)
    estimate: list[float] = field(default_factory=list)
    direct: list[float] = field(default_factory=list)
    agrees: list[bool] = field(default_factory=list)
    group: list[tuple[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    decisions: int = 0
    narrowed: int = 0
    failed: int = 0
    facts: set[str] = field(default_factory=set)
    seconds: float = 0.0


class TargetLearner:
    """Learns for a target: keeps its arms, or the one model that is taught in order, and what it prepared of them."""

    def __init__(self, spec: PolicySpec, policy: Policy) -> None:
        self._spec, self._policy = spec, policy
        self._replica = ArmReplica({spec.key: policy})
        self._replica.load(spec.key, 0, ())
        self._model = policy.fresh() if is_sequential(policy) else None
        self._ready: tuple[PlacementView, Any] | None = None

    def learn(self, outcomes: Sequence[Outcome]) -> int:
        """Learn from outcomes in their order; returns how many of them taught anything."""
        if is_sequential(self._policy):
            self._ready = None  # it was prepared from the model as it was before
            return teach_outcomes(outcomes, self._spec, self._policy, self._model)[0]
        deltas, taught = fold_outcomes(outcomes, self._spec, self._policy)
        self._replica.add(self._spec.key, deltas)
        return taught

    def prepared(self, view: PlacementView, at_ms: int) -> Any:
        """Prepare the target to choose among the view's offers now."""
        if not is_sequential(self._policy):
            return self._replica.prepared(self._spec.key, view, at_ms)
        if self._ready is None or self._ready[0] is not view:
            learned = ModelState(self._model).read(self._policy, view.numbers, 0)
            self._ready = view, self._policy.prepare(learned)
        return self._ready[1]


class Progressive:
    """One target policy on its way through the log of one placement."""

    def __init__(
        self,
        spec: PolicySpec,
        policy: Policy,
        timer: Callable[[], float],
        *,
        slots: Slots = "first",
        reward: Reward = "acceptance",
    ) -> None:
        self._spec, self._policy = spec, policy
        self._learner = TargetLearner(spec, policy)
        self._timer = timer
        self._slots, self._reward = slots, reward
        self._numbers = count()
        self._waiting: list[tuple[int, int, Outcome]] = []
        self.outcomes = OutcomeIndex()
        self.rows = EvaluationRows()
        self.learned = 0

    def add_outcomes(self, outcomes: Iterable[Outcome], *, evaluate: bool = True) -> None:
        """Take in outcomes, to be learned from when their time has come; with ``evaluate``, also as earned."""
        found = list(outcomes)
        if evaluate:
            self.outcomes.add(found)
        if is_learner(self._policy):
            for outcome in found:
                # That an offer was shown is learned too: silence, until something comes of it.
                told = outcome.reward is not None and not outcome.late
                if told or outcome.silence_ms is not None or outcome.earned is not None:
                    # By the time of recording: a policy that was there could not have learned it earlier. The running
                    # number keeps the order of outcomes recorded at once, and outcomes themselves are not compared.
                    heapq.heappush(self._waiting, (outcome.recorded_ms, next(self._numbers), outcome))

    def begin(self, outcomes: Iterable[Outcome], at_ms: int) -> None:
        """Learn at once from outcomes that the log knew of before ``at_ms``; the others wait for their time.

        Their order matters only to a model that is taught in order.
        """
        found = list(outcomes)
        self.add_outcomes((o for o in found if o.recorded_ms >= at_ms), evaluate=False)
        if is_learner(self._policy):
            self.learned += self._learner.learn([o for o in found if o.recorded_ms < at_ms])

    def learn_until(self, at_ms: int) -> None:
        """Learn what the log knew before ``at_ms``."""
        due = []
        while self._waiting and self._waiting[0][0] < at_ms:
            due.append(heapq.heappop(self._waiting)[2])
        if due:
            self.learned += self._learner.learn(due)

    def judge_next(self, logged: LoggedDecision, selection_context: SelectionContext | None) -> None:
        """Judge the next decision; without ``selection_context`` nobody can tell what was possible."""
        rows, decision, at_ms = self.rows, logged.decision, logged.decision.decided_at_ms
        self.learn_until(at_ms)
        rows.decisions += 1
        rows.facts |= (decision.facts or NO_FACTS).keys()
        shown = 1 if self._slots == "first" else len(decision.numbers)
        if not decision.numbers:
            rows.left_out["nothing"] += 1
            return
        if (decision.decision_id, at_ms) in self.outcomes.withdrawn:
            rows.left_out["withdrawn"] += shown
            return
        if selection_context is None:
            rows.left_out["catalogue" if decision.source == "live" else "imported"] += shown
            return
        started = self._timer()  # preparing counts too: what is learned has to be prepared, live as well
        try:
            prepared = self._learner.prepared(selection_context.view, at_ms)
            judged = judge_decision(selection_context, logged, self._spec, self._policy, prepared, most=shown)
        except Exception:  # the target's own code: what it would have done is then the fallback's business
            rows.failed += 1
            rows.left_out["failed"] += shown
            return
        rows.seconds += self._timer() - started
        self._add_rows(decision, judged)

    def _add_rows(self, decision: Decision, judged: CounterfactualDecision) -> None:
        rows, by_value = self.rows, self._reward == "value"
        rows.narrowed += judged.narrowed
        for slot in judged.slots:
            key = (decision.decision_id, decision.decided_at_ms, slot.offer)
            reward, value = self.outcomes.rewards.get(key, (None, None))
            earned = value if by_value else reward
            if slot.unusable is not None or earned is None:
                rows.left_out[slot.unusable or ("unobserved" if reward is None else "unpriced")] += 1
                continue
            rows.unit.append(rows.decisions)
            rows.reward.append(earned)
            rows.logging_probability.append(slot.logging_probability)
            rows.target_probability.append(slot.target_probability)
            rows.estimate.append(slot.worth if by_value else slot.estimate)
            rows.direct.append(slot.direct_worth if by_value else slot.direct)
            rows.agrees.append(slot.agrees)
            rows.group.append((decision.logged_group or "champion", decision.policy.key))
