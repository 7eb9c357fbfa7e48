"""Evaluations as they are asked for: plain JSON that is kept, and run later in another process."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bandits.policy import PolicySpec
from bandits.registry import BUILT_IN
from bandits.specification import stored_spec
from decisioning.errors import NotFound
from decisioning.evaluation.service import Question


class Registry(Protocol):
    """Registered policies. Raises ``NotFound`` and ``PostgresUnavailable``."""

    async def get(self, key: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a policy: one that is known (``name@version``), or any specification (as ``spec_body``)."""

    question: Question
    policy: str | None = None
    spec: Mapping[str, Any] | None = None


async def spec_of(asked: Asked, registry: Registry) -> PolicySpec:
    """The specification that is meant.

    Raises
    ------
    NotFound
        If no such policy is registered.
    BanditsError
        If the specification is not one.
    """
    if asked.spec is not None:
        return stored_spec(asked.spec)
    assert asked.policy is not None
    known: dict[str, PolicySpec] = {spec.key: spec for spec in BUILT_IN}
    if asked.policy in known:
        return known[asked.policy]
    try:
        registered = await registry.get(asked.policy)
    except NotFound:
        raise NotFound("policy", asked.policy) from None
    found: PolicySpec = registered.spec
    return found


def as_json(asked: Asked) -> dict[str, Any]:
    """As it is kept."""
    q = asked.question
    return {
        "policy": asked.policy,
        "spec": None if asked.spec is None else dict(asked.spec),
        "placement": q.placement,
        "since": None if q.since is None else q.since.isoformat(),
        "until": None if q.until is None else q.until.isoformat(),
        "limit": q.limit,
        "slots": q.slots,
        "reward": q.reward,
        "start": q.start,
    }


def from_json(kept: Mapping[str, Any]) -> Asked:
    """The inverse of ``as_json``."""
    since, until = (None if kept[n] is None else datetime.fromisoformat(kept[n]) for n in ("since", "until"))
    question = Question(
        kept["placement"], since, until, kept["limit"], kept["slots"], kept["reward"], kept["start"]
    )
    return Asked(question, kept["policy"], kept["spec"])
