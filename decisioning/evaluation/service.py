"""Offline evaluation: a policy, registered or not, walks through the archived log of a placement."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
from msgspec import convert

from bandits.ope.estimators import inverse_propensity
from bandits.policy import Policy, PolicySpec
from bandits.registry import BUILT_IN, build_policy
from bandits.sequential_policy import is_sequential
from bandits.specification import parse_stored_spec
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import NotFound
from decisioning.evaluation.counterfactual import Reward, count_left_out
from decisioning.evaluation.estimates import (
    as_numbers,
    estimate,
    notes_on,
    notes_on_imported,
    notes_on_open,
    shares,
    summary,
)
from decisioning.evaluation.progressive import EvaluationRows, Progressive, Slots
from decisioning.evaluation.replay_service import LoggedContexts
from decisioning.evaluation.store_pages import HindsightReader, Span
from decisioning.policies.store import PolicyStore
from storage.clock import to_ms


@dataclass(frozen=True, slots=True)
class EvaluationScope:
    """The decisions to evaluate a policy on, and how.

    ``start``: ``cold``, the target begins with nothing; ``warm``, with all that was learned before the first decision.
    ``slots``: the first slot of each answer, or all of them, each given what the earlier ones took.
    """

    placement: str
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 20_000
    slots: Slots = "first"
    reward: Reward = "acceptance"
    start: Literal["cold", "warm"] = "cold"


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """A policy to evaluate: one that is known (``name@version``), or any specification (as ``spec_body``)."""

    scope: EvaluationScope
    policy: str | None = None
    spec: Mapping[str, Any] | None = None


def as_json(request: EvaluationRequest) -> dict[str, Any]:
    """Make plain JSON of a request, to be kept and run later in another process."""
    scope = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(request.scope).items()
    }
    return {"policy": request.policy, "spec": None if request.spec is None else dict(request.spec), **scope}


def from_json(kept: Mapping[str, Any]) -> EvaluationRequest:
    """Read a request: the inverse of ``as_json``."""
    return EvaluationRequest(convert(kept, EvaluationScope), kept["policy"], kept["spec"])


async def spec_of(request: EvaluationRequest, registry: PolicyStore) -> PolicySpec:
    """Find the specification that is meant.

    Raises ``NotFound`` if no such policy is registered, ``BanditsError`` if the specification is not one.
    """
    if request.spec is not None:
        return parse_stored_spec(request.spec)
    assert request.policy is not None
    built_in = next((spec for spec in BUILT_IN if spec.key == request.policy), None)
    return built_in or (await registry.get(request.policy)).spec


async def evaluate(
    spec: PolicySpec,
    scope: EvaluationScope,
    log: HindsightReader,
    catalogues: CatalogueStore,
    timer: Callable[[], float],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Estimate what the policy of ``spec`` would have earned, next to what was earned in closed reward windows.

    ``on_progress`` is told how many of how many decisions have been seen.

    Raises
    ------
    UnknownPolicy, PolicyParameterError
        If the policy cannot be built.
    NotFound
        If there are no such decisions.
    PostgresUnavailable
        If the log cannot be read.
    """
    span = await log.span(scope.placement, scope.since, scope.until, scope.limit)
    if span is None:
        raise NotFound("archived decision of the placement", scope.placement)
    start_ms = to_ms(span.start)
    # From a cold start an outcome of an earlier decision teaches nothing, even if it comes later.
    spec = replace(spec, learn_since_ms=0 if scope.start == "warm" else start_ms)
    policy = build_policy(spec)
    target = Progressive(spec, policy, timer, slots=scope.slots, reward=scope.reward)
    if scope.start == "warm":
        async for outcomes in log.before(span, spec.placements, in_order=is_sequential(policy)):
            target.begin(outcomes, start_ms)
    logged_contexts = LoggedContexts(catalogues)
    async for page in log.pages(span, spec.placements):
        target.add_outcomes(page.outcomes)
        for logged in page.decided:
            target.judge_next(logged, await logged_contexts.of(logged))
        on_progress(target.rows.decisions, span.decisions)
        # A page holds all outcomes of its decisions, so memory need not grow with the log.
        target.outcomes.clear()
        await asyncio.sleep(0)  # other tasks get their turn: a page is pure computation
    return report_on(spec, policy, scope, span, target)


def report_on(
    spec: PolicySpec, policy: Policy, scope: EvaluationScope, span: Span, target: Progressive
) -> dict[str, Any]:
    """Report on a target that has walked through the decisions of ``span``, as plain JSON."""
    rows = target.rows
    found, warnings = estimate(rows, by_value=scope.reward == "value")
    warnings = notes_on_open(span.open, rows.decisions, "decisions") + warnings
    warnings += notes_on_imported(span.imported, scope.start == "warm")
    left_out = sum(n for reason, n in rows.left_out.items() if reason != "nothing")
    warnings += notes_on(policy.epsilon, target.learned > 0, rows.narrowed, left_out, len(rows.reward))
    if rows.failed:
        warnings.append(f"The target raised an error in {rows.failed} decisions; they are left out.")
    unknown = sorted(set(policy.encoder.paths) - rows.facts)
    if unknown:
        warnings.append(
            f"Never logged in these decisions: {', '.join(unknown)}. Facts are logged from the moment that a policy "
            "which looks at them is registered; until then the target sees them as missing."
        )
    decided = rows.decisions - rows.left_out["nothing"]
    # After the note on how many were left out of those that were looked at: these were not.
    rows.left_out["imported"] += span.imported
    return {
        "policy": spec.name,
        "version": spec.version,
        "placement": scope.placement,
        "from": span.start.isoformat(),
        "to": span.end.isoformat(),
        "start": scope.start,
        "slots": scope.slots,
        "reward": scope.reward,
        "decisions": rows.decisions,
        "open": span.open,
        "imported": span.imported,
        "learned": target.learned,
        "us_per_decision": 1e6 * rows.seconds / decided if decided else None,
        "left_out": count_left_out(+rows.left_out),
        "estimates": summary(found),
        "logged": _logged(rows, scope.reward),
        "warnings": warnings,
    }


def _logged(rows: EvaluationRows, reward: Reward) -> list[dict[str, Any]]:
    """Average what each logging policy really earned in a slot, by group, in the rows that were used."""
    rewards: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for group, earned in zip(rows.group, rows.reward, strict=True):
        rewards[group].append(earned)
    return [
        {"group": group, "policy": policy, "slots": len(found), "earned": _mean(found, reward)}
        for (group, policy), found in sorted(rewards.items())
    ]


def _mean(found: Sequence[float], reward: Reward) -> dict[str, float | None]:
    if reward == "acceptance":
        return shares(sum(found), len(found))
    ones = np.ones(len(found))  # with weights of 1 this is the plain mean
    return as_numbers(inverse_propensity(found, ones, ones))
