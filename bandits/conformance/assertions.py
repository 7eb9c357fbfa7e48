"""Helpers that laws are stated with: conditions, equality bit for bit, and a policy's answers as a fingerprint."""

from typing import Any

import numpy as np

from bandits.conformance.scenarios import Scenario, availability_masks, fingerprint, make_observation
from bandits.policy import Candidates, Facts, FloatArray, Policy

SUM_TOLERANCE = 1e-12


class LawViolation(Exception):
    """A law is broken; the message says by what."""


def require(holds: Any, what: str) -> None:
    """Raise ``LawViolation`` unless it holds."""
    if not holds:
        raise LawViolation(what)


def require_equal(a: FloatArray, b: FloatArray, what: str) -> None:
    """Raise ``LawViolation`` unless both are equal bit for bit."""
    require(fingerprint(np.asarray(a)) == fingerprint(np.asarray(b)), what)


def with_other_facts(facts: Facts) -> Facts:
    """Return the same facts in another order, with facts added that no feature reads."""
    return {"context.nobody_asked": 7.0, **dict(reversed(list(facts.items()))), "customer.nobody_asked": "x"}


def all_answers(policy: Policy, prepared: Any, candidates: Candidates) -> Any:
    """Return a fingerprint of everything that a policy says about candidates."""
    distribution = policy.selector(prepared, candidates)
    chances = [distribution(available) for available in availability_masks(len(candidates))]
    return fingerprint([policy.propensities(prepared, candidates), *chances])


def exercise_policy(policy: Policy, w: Scenario) -> None:
    """Call every method of a policy once."""
    prepared = policy.prepare(w.sums)
    prepared = policy.refresh(prepared, w.sums, np.arange(1, dtype=np.intp))
    all_answers(policy, prepared, w.candidates)
    policy.learn(make_observation(policy, int(w.offers[0]), 1.0, 0.5, 0.5, w.candidates.facts))
