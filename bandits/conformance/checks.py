"""Conformance checks: the laws that every policy keeps, whatever its algorithm.

They run on every registered policy by themselves, and a new policy is ready for use when they pass. What
the rest of the system relies on is stated here and nowhere else: replay needs purity, learners that work in
parallel need folds that commute, evaluation needs exact probabilities.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from bandits.conformance.choosing_laws import CHOOSING_LAWS
from bandits.conformance.learning_laws import LEARNING_LAWS
from bandits.conformance.scenarios import LawViolation
from bandits.conformance.sequential_laws import SEQUENTIAL_LAWS
from bandits.errors import ConformanceError
from bandits.policy import Policy
from bandits.sequential_policy import is_sequential

Check = Callable[[Policy], None]


def checks_for(policy: Policy) -> Iterator[Check]:
    """Yield the checks that apply to ``policy``, each a function of a policy that is named after its law.

    Each raises ``ConformanceError`` if the law is broken. They do not depend on each other.
    """
    if is_sequential(policy):
        yield from (law for law in _LAWS if law.__name__ in _LAWS_OF_ANY_STATE)
        yield from _SEQUENTIAL_LAWS
    else:
        # Without arms there is nothing that learning could change.
        yield from (law for law in _LAWS if policy.width or law.__name__ not in _LEARNER_LAWS)


def check(policy: Policy) -> None:
    """Run all checks. Raises ``ConformanceError`` for the first law that ``policy`` breaks; its message names it."""
    for law in checks_for(policy):
        law(policy)


def _as_check(body: Callable[[Any], None]) -> Check:
    """Wrap a law so that its errors name the policy and the law."""

    @wraps(body)
    def law(policy: Policy) -> None:
        try:
            body(policy)
        except Exception as error:
            what = str(error) if isinstance(error, LawViolation) else f"it raised {error!r}"
            who = f"{getattr(policy, 'name', '?')}@{getattr(policy, 'version', '?')}"
            raise ConformanceError(f"{who} breaks {body.__name__!r} ({body.__doc__}): {what}") from error

    return law


_LAWS: tuple[Check, ...] = tuple(map(_as_check, (*LEARNING_LAWS, *CHOOSING_LAWS)))
_SEQUENTIAL_LAWS: tuple[Check, ...] = tuple(map(_as_check, SEQUENTIAL_LAWS))
_LEARNER_LAWS = frozenset({"learning_stays_with_its_offer"})
_LAWS_OF_ANY_STATE = frozenset(
    {
        "is_described",
        "refuses_unknown_parameters",
        "features_are_pure",
        "facts_count_if_declared",
        "propensities_are_chances",
        "distributions_are_exact",
        "masking_equals_leaving_out",
        "order_is_immaterial",
    }
)
"""The laws that do not speak of sums."""
