"""Results of decisions in the order in which those were made: policies are compared by them, and drift is seen.

A result is known once each of its offers has an answer, and at the latest after a *horizon*: what was not accepted by
then counts as not accepted. Counting stands still at the first decision whose result is not known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ANSWERS = frozenset({"accepted", "rejected", "expired"})
"""Outcomes after which nothing more is expected of an offer; the first of them counts."""
SEEN = frozenset({"presented", "clicked", "accepted", "rejected"})
"""Outcomes that show that the offer was presented."""


@dataclass(frozen=True, slots=True)
class MadeDecision:
    """A decision, and what has been told of it: ``(offer id, outcome, recorded at)`` in the order of the log.

    ``decider`` (``name@version``) is the policy whose turn it was, whether or not it could decide. ``explicit``: only
    offers that were confirmed count as presented. Times are Unix milliseconds.
    """

    decision_id: str
    customer_id: str
    at_ms: int
    until_ms: int
    group: str
    decider: str
    explicit: bool
    offers: Sequence[str]
    told: Sequence[tuple[str, str, int]]

    @property
    def withdrawn(self) -> bool:
        """True if its answer could not be delivered: it counts for nothing."""
        return any(outcome == "withdrawn" for _, outcome, _ in self.told)


@dataclass(frozen=True, slots=True)
class Result:
    """A decision whose result is known. ``accepted``: by offer, for those that were presented."""

    made: MadeDecision
    accepted: Mapping[str, bool]

    @property
    def counts(self) -> bool:
        """True if somebody saw it. Where being in the answer means being seen, so is an answer without offers."""
        return not self.made.withdrawn and (bool(self.accepted) or not self.made.explicit)

    @property
    def success(self) -> bool:
        """True if at least one offer was accepted."""
        return any(self.accepted.values())


def result_of(made: MadeDecision, horizon_ms: int, now_ms: int) -> Result | None:
    """Find the result, if it is known at ``now_ms``; once it is, it does not change any more."""
    if made.withdrawn:
        return Result(made, {})
    until_ms = min(made.at_ms + horizon_ms, made.until_ms)
    answers: dict[str, str] = {}
    seen = set() if made.explicit else set(made.offers)
    for offer_id, outcome, recorded_ms in made.told:
        if recorded_ms > until_ms:
            continue  # else the result would depend on when it is asked for
        if outcome in SEEN:
            seen.add(offer_id)
        if outcome in ANSWERS:
            answers.setdefault(offer_id, outcome)
    if now_ms <= until_ms and any(offer_id not in answers for offer_id in made.offers):
        return None
    return Result(made, {o: answers.get(o) == "accepted" for o in made.offers if o in seen})


def results_in_order(made: Iterable[MadeDecision], horizon_ms: int, now_ms: int) -> list[Result]:
    """Find the results of decisions, in their order, up to the first that is not known."""
    results = []
    for decision in made:
        result = result_of(decision, horizon_ms, now_ms)
        # Acceptance is told sooner than silence: of the last minutes mostly acceptances are known, so whoever counted
        # all that is known would not have a fair sample. An always-valid test may be read after any number of
        # observations in their order, so also where counting happens to stand still.
        if result is None:
            break
        results.append(result)
    return results
