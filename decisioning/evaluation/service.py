"""Offline evaluation: a policy, registered or not, walks through the archived log of a placement."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol

import numpy as np

from bandits.ope.estimators import inverse_propensity
from bandits.policy import Policy, PolicySpec
from bandits.registry import build
from bandits.sequential_policy import is_sequential
from decisioning.errors import NotFound
from decisioning.evaluation.counterfactual import REASONS, Reward
from decisioning.evaluation.estimates import Judgement, as_numbers, estimate, notes_on, shares, summary
from decisioning.evaluation.logged_service import Catalogues, LoggedContexts
from decisioning.evaluation.progressive import Progressive, Seen, Slots
from decisioning.evaluation.store_pages import Page, Span
from decisioning.model.outcome import Outcome

MEANINGS = REASONS | {
    "nothing": "nothing was shown",
    "unobserved": "no answer yet, or nobody confirmed that it was presented",
    "unpriced": "nobody knows what it was worth",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be evaluated: which decisions, and how.

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


class HindsightLog(Protocol):
    """The archived log in the order of time. Methods raise ``PostgresUnavailable``."""

    async def span(
        self, placement: str, start: datetime | None, end: datetime | None, limit: int
    ) -> Span | None: ...

    def pages(self, span: Span, placements: Sequence[str] = ()) -> AsyncIterator[Page]: ...

    def before(
        self, span: Span, placements: Sequence[str] = (), *, in_order: bool = False
    ) -> AsyncIterator[list[Outcome]]: ...


async def evaluate(
    spec: PolicySpec,
    question: Question,
    log: HindsightLog,
    catalogues: Catalogues,
    timer: Callable[[], float],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """What the policy of ``spec`` would have earned, next to what was earned.

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
    span = await log.span(question.placement, question.since, question.until, question.limit)
    if span is None:
        raise NotFound("archived decision of the placement", question.placement)
    since_ms = 0 if question.start == "warm" else round(span.start.timestamp() * 1000)
    spec = replace(spec, learn_since_ms=since_ms)
    policy = build(spec)
    target = Progressive(spec, policy, timer, slots=question.slots, reward=question.reward)
    if question.start == "warm":
        start_ms = round(span.start.timestamp() * 1000)
        async for outcomes in log.before(span, spec.placements, in_order=is_sequential(policy)):
            target.begin(outcomes, start_ms)
    logged_contexts = LoggedContexts(catalogues)
    async for page in log.pages(span, spec.placements):
        target.hear(page.outcomes)
        for logged in page.decided:
            target.meet(logged, await logged_contexts.of(logged))
        on_progress(target.seen.decisions, span.decisions)
        target.told.clear()
        await asyncio.sleep(0)
    return _report(spec, policy, question, span, target)


def _report(
    spec: PolicySpec, policy: Policy, question: Question, span: Span, target: Progressive
) -> dict[str, Any]:
    seen = target.seen
    found, warnings = estimate(_columns(seen))
    left_out = sum(n for reason, n in seen.left_out.items() if reason != "nothing")
    learned = target.learned
    warnings += notes_on(policy.epsilon, learned > 0, seen.narrowed, left_out, len(seen.reward))
    if seen.failed:
        warnings.append(f"The target raised an error in {seen.failed} decisions; they are left out.")
    unknown = sorted(set(policy.encoder.paths) - seen.facts)
    if unknown:
        warnings.append(
            f"Never logged in these decisions: {', '.join(unknown)}. Facts are logged from the moment that a policy "
            "which looks at them is registered; until then the target sees them as missing."
        )
    decided = seen.decisions - seen.left_out["nothing"]
    return {
        "policy": spec.name,
        "version": spec.version,
        "placement": question.placement,
        "from": span.start.isoformat(),
        "to": span.end.isoformat(),
        "start": question.start,
        "slots": question.slots,
        "reward": question.reward,
        "decisions": seen.decisions,
        "learned": learned,
        "us_per_decision": 1e6 * seen.seconds / decided if decided else None,
        "left_out": [
            {"reason": reason, "slots": n, "meaning": MEANINGS.get(reason, "")}
            for reason, n in sorted(seen.left_out.items())
        ],
        "estimates": summary(found),
        "logged": _logged(seen, question.reward),
        "warnings": warnings,
    }


def _columns(seen: Seen, rows: Sequence[int] | None = None) -> Judgement:
    columns = (
        *(seen.unit, seen.reward, seen.probability, seen.chance),
        *(seen.estimate, seen.direct, seen.agrees),
    )
    return Judgement(*columns) if rows is None else Judgement(*(np.asarray(c)[rows] for c in columns))


def _logged(seen: Seen, reward: Reward) -> list[dict[str, Any]]:
    """What each logging policy really earned in a slot, by group, in the rows that were used."""
    rewards: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for group, earned in zip(seen.group, seen.reward, strict=True):
        rewards[group].append(earned)
    return [
        {"group": group, "policy": policy, "slots": len(found), "earned": _mean(found, reward)}
        for (group, policy), found in sorted(rewards.items())
    ]


def _mean(found: Sequence[float], reward: Reward) -> dict[str, float | None]:
    if reward == "acceptance":
        return shares(sum(found), len(found))
    ones = np.ones(len(found))
    return as_numbers(inverse_propensity(found, ones, ones))
