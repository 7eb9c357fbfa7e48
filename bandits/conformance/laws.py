"""What the laws are stated with: conditions, equality bit for bit, and all that a policy says or does."""

from typing import Any

import numpy as np

from bandits.conformance.worlds import World, fingerprint, masks, observation
from bandits.policy import Candidates, Facts, FloatArray, Policy

SUM_TOLERANCE = 1e-12


class LawViolation(Exception):
    """What exactly went against a law."""


def require(holds: Any, what: str) -> None:
    """Raise ``LawViolation`` unless it holds."""
    if not holds:
        raise LawViolation(what)


def same(a: FloatArray, b: FloatArray, what: str) -> None:
    """Equal bit for bit."""
    require(fingerprint(np.asarray(a)) == fingerprint(np.asarray(b)), what)


def with_others(facts: Facts) -> Facts:
    """The same facts in another order, among others that are nobody's feature."""
    return {"context.nobody_asked": 7.0, **dict(reversed(list(facts.items()))), "customer.nobody_asked": "x"}


def answers(policy: Policy, prepared: Any, candidates: Candidates) -> Any:
    """Everything that a policy says about candidates, as a fingerprint."""
    distribution = policy.selector(prepared, candidates)
    chances = [distribution(available) for available in masks(len(candidates))]
    return fingerprint([policy.propensities(prepared, candidates), *chances])


def use(policy: Policy, w: World) -> None:
    """Let the policy do all that it does."""
    prepared = policy.prepare(w.sums)
    prepared = policy.refresh(prepared, w.sums, np.arange(1, dtype=np.intp))
    answers(policy, prepared, w.candidates)
    policy.learn(observation(policy, int(w.offers[0]), 1.0, 0.5, 0.5, w.candidates.facts))
