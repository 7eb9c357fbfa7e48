"""Evaluation of a policy on a log in files: an exported one, or somebody else's.

The target walks through it as through the archive: it learns from a reward once the log knew of it, and is judged with
the logged probability. Of the catalogue only what the rows say is known: candidates, and their weights and values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bandits.policy import Facts, PolicySpec
from bandits.registry import build_policy
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.ranking import SelectionContext
from decisioning.errors import Invalid, NotFound
from decisioning.evaluation.progressive import Progressive
from decisioning.evaluation.service import EvaluationScope, report_on
from decisioning.evaluation.store_pages import Span
from decisioning.exporting.log_files import (
    LogScope,
    Row,
    facts_in,
    is_imported,
    is_open,
    read_decisions,
    summarise,
    time_ms,
)
from decisioning.model.decision import DecidedOffer, Decision, LoggedDecision, LoggedPolicy
from decisioning.model.entities import Group, Offer, Placement, Treatment
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.model.weights import Weights

PLACEMENT = "log"
POLICY = "log@1"
"""The policy that decided, where the log does not name it."""
PROGRESS_EVERY = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def evaluate_log(
    spec: PolicySpec,
    path: Path,
    scope: EvaluationScope,
    timer: Callable[[], float],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Estimate what the policy of ``spec`` would have earned in a log; the result is that of ``service.evaluate``.

    ``scope.placement``: decisions of that placement; all if it is empty.

    Raises
    ------
    Invalid
        If the log cannot be read, or the start is warm.
    NotFound
        If it has no such decision.
    UnknownPolicy, PolicyParameterError
        If the policy cannot be built.
    """
    if scope.start == "warm":
        raise Invalid("start", "a log in files has nothing before its first decision: start cold")
    wanted = LogScope(scope.placement or None, scope.since, scope.until)
    summary = summarise(path, wanted)
    if not summary.closed + summary.open + summary.imported:
        raise NotFound("decision in the log", str(path))
    spec = replace(spec, learn_since_ms=0)
    policy = build_policy(spec)
    target = Progressive(spec, policy, timer, slots=scope.slots, reward=scope.reward)
    view = _view_of(summary.actions)
    reader = _LogReader(view)
    skipped = max(summary.closed - scope.limit, 0)
    total, seen = summary.closed - skipped, 0
    for rows in read_decisions(path, wanted):
        if is_imported(rows[0]) or is_open(rows[0]):
            continue
        seen += 1
        if seen <= skipped:
            continue
        if not all(row["offer_id"] in row["candidates"] for row in rows):
            # No policy selected it: a default, or what a caller brought along.
            target.rows.decisions += 1
            target.rows.left_out["default"] += len(rows) if scope.slots == "all" else 1
            continue
        logged, outcomes, context = reader.read(rows, view)
        target.add_outcomes(outcomes)
        target.judge_next(logged, context)
        # Its rewards are in the rows now, and its outcomes wait for their time.
        target.outcomes.clear()
        if seen % PROGRESS_EVERY == 0:
            on_progress(seen - skipped, total)
    first, last = summary.first or _EPOCH, summary.last or _EPOCH
    named = replace(scope, placement=scope.placement or str(path))
    span = Span(named.placement, first, last, target.rows.decisions, summary.open, summary.imported)
    return report_on(spec, policy, named, span, target)


def _view_of(actions: Sequence[str]) -> PlacementView:
    """Build a placement that has these actions, each worth 1, and no rules."""
    treatment = Treatment(treatment_id="t", channel="web", language="en", title="", message="")
    offers = {
        action: Offer(action, number, action, "log", 1.0, treatments=(treatment,))
        for number, action in enumerate(actions, start=1)
    }
    catalogue = Catalogue(
        version=1,
        groups={"log": Group("log", "log", "grow")},
        offers=offers,
        placements={PLACEMENT: Placement(PLACEMENT, "web")},
    )
    return catalogue.view(PLACEMENT)


class _LogReader:
    """Makes logged decisions of the rows of a log. Times never go back, and are counted where there are none."""

    def __init__(self, view: PlacementView) -> None:
        self._row_of = {offer.offer_id: row for row, offer in enumerate(view.offers)}
        self._at_ms = 0
        self._count = 0

    def read(
        self, rows: Sequence[Row], view: PlacementView
    ) -> tuple[LoggedDecision, list[Outcome], SelectionContext]:
        """Return a decision, what came of it, and what could be chosen from."""
        first = rows[0]
        at_ms = time_ms(first, "decided_at")
        self._at_ms = self._at_ms + 1 if at_ms is None else max(at_ms, self._at_ms)
        self._count += 1
        name = str(first.get("decision_id") or f"row-{self._count}")
        chosen = [self._row_of[candidate] for candidate in first["candidates"]]
        facts = facts_in(first)
        propensities = np.full(len(view.numbers), np.nan, dtype=np.float32)
        propensities[chosen] = _numbers(first, "candidate_propensities", np.nan)
        weights, values = np.ones(len(view.numbers)), np.ones(len(view.numbers))
        weights[chosen] = _numbers(first, "candidate_weights", 1.0)
        values[chosen] = _numbers(first, "candidate_values", 1.0)
        available = np.zeros(len(view.numbers), dtype=bool)
        available[chosen] = True
        numbers = tuple(int(view.numbers[self._row_of[row["offer_id"]]]) for row in rows)
        decision = self._decision(rows, name, numbers, facts)
        logged = LoggedDecision(
            0,
            StreamPosition(),
            decision,
            view.numbers[chosen].astype(np.uint32),
            propensities[chosen],
            np.stack([np.ones(len(chosen)), values[chosen]]),
        )
        ones = np.ones(len(view.numbers))
        context = SelectionContext(
            view=view,
            available=available,
            base_propensities=propensities,
            weights=Weights(weights, ones, ones),
            now_ms=self._at_ms,
            slots=len(rows),
            decision_id=name,
            facts=facts,
        )
        outcomes = [
            self._outcome(row, decision, number, float(propensities[self._row_of[row["offer_id"]]]))
            for row, number in zip(rows, numbers, strict=True)
        ]
        return logged, outcomes, context

    def _decision(self, rows: Sequence[Row], name: str, numbers: tuple[int, ...], facts: Facts) -> Decision:
        first = rows[0]
        return Decision(
            decision_id=name,
            customer_id="",
            placement=PLACEMENT,
            channel=None,
            presentation="implicit",
            policy=LoggedPolicy.of(first.get("policy") or POLICY),
            control=False,
            logged_group=first.get("group"),
            catalog_version=1,
            epoch=0,
            decided_at_ms=self._at_ms,
            until_ms=self._at_ms,
            context={},
            limit=None,
            slots=len(rows),
            offers=tuple(
                DecidedOffer(row["offer_id"], rank, probability=row["probability"])
                for rank, row in enumerate(rows, start=1)
            ),
            numbers=numbers,
            facts=facts,
            degraded=(),
            feedback_until=None,
            source="live",
            scored_by=LoggedPolicy.of(POLICY) if first.get("group") == "caller" else None,
        )

    def _outcome(self, row: Row, decision: Decision, number: int, base_propensity: float) -> Outcome:
        reward = row["reward"]
        known_ms = time_ms(row, "reward_at") or decision.decided_at_ms
        kind = "withdrawn" if row.get("outcome") == "withdrawn" else "accepted" if reward else "expired"
        return Outcome(
            bucket=0,
            position=StreamPosition(),
            decision_id=decision.decision_id,
            decided_at_ms=decision.decided_at_ms,
            offer_id=row["offer_id"],
            offer=number,
            outcome=kind,
            value=_told(reward, row.get("value")),
            at_ms=time_ms(row, "outcome_at") or decision.decided_at_ms,
            recorded_ms=max(known_ms, decision.decided_at_ms),
            late=False,
            reward=reward,
            base_propensity=base_propensity,
            policy=str(decision.policy.key),
            placement=row.get("placement") or PLACEMENT,
            facts=decision.facts or {},
        )


def _told(reward: float | None, value: float | None) -> float | None:
    """Return what was told with a reward, given reward times that; ``None`` if it is not known."""
    if reward is None or (reward != 0.0 and value is None):
        return None
    return 0.0 if reward == 0.0 or value is None else value / reward


def _numbers(row: Mapping[str, Any], name: str, missing: float) -> Any:
    """Return the numbers of a column with one for each candidate."""
    found = row.get(name)
    if found is None:
        return missing
    return [missing if number is None else number for number in found]
