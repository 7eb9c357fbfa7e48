"""Parts that both clients share: questions, outcomes, defaults. Nothing here waits or sends."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

import httpx

from nextbest_client.answers import Decision, Json, Offer, decision_of, local_decision, offer_of
from nextbest_client.errors import Unavailable
from nextbest_client.outbox import Outbox
from nextbest_client.retries import Breaker, Request, Retries

BuiltInOutcome = Literal["presented", "clicked", "accepted", "rejected"]
Outcome = BuiltInOutcome | str
"""One that is always there, or one that the catalogue declares."""
Field = Literal["score", "factors", "probability", "treatment"]
DefaultOffers = Sequence[str | Offer | Mapping[str, Any]]

TIMEOUT_S = 2.0
DECISIONS, FEEDBACK, EVENTS = "/v1/decisions", "/v1/feedback", "/v1/events"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, ready to be sent, and what is answered if it cannot be."""

    request: Request
    decision_id: str
    placement: str
    limit: int | None


class AskOptions(TypedDict, total=False):
    """Options of a question besides who, where and in which context; see ``POST /v1/decisions``.

    ``decision_id``: an id of your own, such as that of a visit: the same id gives the same answer.
    """

    limit: int
    fields: Sequence[Field]
    decision_id: str
    deadline_ms: int
    dry_run: bool
    explain: bool
    baseline: Sequence[str]


class OutcomeOptions(TypedDict, total=False):
    """Options of an outcome: what it brought, and when it happened (with a time zone; by default now)."""

    value: float | None
    occurred_at: datetime | None


class EventOptions(TypedDict, total=False):
    """Options of an event: an id of your own, by which it counts once, and when it happened."""

    event_id: str
    occurred_at: datetime | None


class Core:
    """The state of a client of either kind: its defaults, its patience, its outbox, and if the service is there."""

    def __init__(
        self,
        defaults: Mapping[str, DefaultOffers] | None,
        timeout_s: float,
        retries: Retries | None,
        outbox: Outbox | None,
        breaker: Breaker | None,
    ) -> None:
        # An empty one is false.
        self.outbox = Outbox() if outbox is None else outbox
        """Outcomes that wait, and counts of those that were sent and dropped."""
        self.event_outbox = Outbox(self.outbox.most, self.outbox.batch_size)
        """The same for events."""
        self._outboxes = {f"{FEEDBACK}/batch": self.outbox, f"{EVENTS}/batch": self.event_outbox}
        self._defaults = default_offers(defaults)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()
        self._breaker = breaker or Breaker()
        self._closed = False
        self._flushing = False

    def _local(self, question: Question) -> Decision | None:
        """Answer without the service; ``None`` if there are no defaults for the placement."""
        offers = self._defaults.get(question.placement)
        if offers is None:
            return None
        return local_decision(question.decision_id, question.placement, offers, question.limit)

    def _give_up(self, local: Decision | None, error: Unavailable) -> Decision:
        """Note that the service is away, and answer without it. Raises ``error`` if there is no such answer."""
        self._breaker.note(failed=True)
        if local is None:
            raise error
        return local

    def _answer(self, response: httpx.Response) -> Decision:
        """Note that the service is there, and read its answer."""
        self._breaker.note(failed=False)
        return decision_of(response.json())

    def _put(
        self, decision: Decision | str, offer: Offer | str, outcome: Outcome, options: OutcomeOptions
    ) -> bool:
        """Put an outcome into the outbox; False if it was dropped."""
        if isinstance(decision, Decision) and decision.local:
            self.outbox.drop("local")
            return False
        if self._closed:
            self.outbox.drop("closed")
            return False
        # It may be sent much later: the service is told when it happened. The same for events.
        occurred_at = options.get("occurred_at") or datetime.now(UTC)
        return self.outbox.put(outcome_item(decision, offer, outcome, options.get("value"), occurred_at))

    def _put_event(
        self, customer_id: str, type_: str, properties: Mapping[str, Any] | None, options: EventOptions
    ) -> bool:
        """Put an event into its outbox; False if it was dropped."""
        if self._closed:
            self.event_outbox.drop("closed")
            return False
        occurred_at = options.get("occurred_at") or datetime.now(UTC)
        return self.event_outbox.put(
            event_item(customer_id, type_, properties, options | {"occurred_at": occurred_at})
        )

    def _waiting(self) -> int:
        """Count what waits to be sent."""
        return sum(len(outbox) for outbox in self._outboxes.values())

    def _has_full_batch(self) -> bool:
        return any(len(outbox) >= outbox.batch_size and outbox.is_due() for outbox in self._outboxes.values())

    def _pause_s(self) -> float:
        """Compute the pause before it is looked again for what is due."""
        return min(outbox.wait_s() for outbox in self._outboxes.values())

    def _due(self) -> list[tuple[str, Outbox]]:
        """Pick out the outboxes of which a batch may be sent now: each rests by itself, unless somebody flushes."""
        all_of_them, self._flushing = self._flushing, False
        return [(path, o) for path, o in self._outboxes.items() if all_of_them or o.is_due()]


def json_of(response: httpx.Response) -> Any:
    """Read the JSON of an answer; ``None`` if it has no body."""
    return response.json() if response.content else None


def default_offers(defaults: Mapping[str, DefaultOffers] | None) -> dict[str, tuple[Offer, ...]]:
    """Bring default offers of placements into one form: ids, offers, or offers as answers have them."""
    return {
        placement: tuple(_default(offer, rank) for rank, offer in enumerate(offers, 1))
        for placement, offers in (defaults or {}).items()
    }


def _default(offer: str | Offer | Mapping[str, Any], rank: int) -> Offer:
    if isinstance(offer, Offer):
        return offer
    return Offer(offer, rank) if isinstance(offer, str) else offer_of({"rank": rank, **offer})


def question(
    customer_id: str, placement: str, context: Mapping[str, Any] | None, options: AskOptions
) -> Question:
    """Write a question. Without an id of the caller's own it gets one: asked again, it is the same decision."""
    own_id = options.get("decision_id") or f"py-{uuid.uuid4().hex}"
    body: Json = {"customer_id": customer_id, "placement": placement, "context": dict(context or {})}
    body |= {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return Question(
        Request("POST", DECISIONS, body | {"decision_id": own_id}), own_id, placement, options.get("limit")
    )


def outcome_item(
    decision: Decision | str,
    offer: Offer | str,
    outcome: Outcome,
    value: float | None = None,
    occurred_at: datetime | None = None,
) -> Json:
    """Write an outcome as it is sent. Raises ``ValueError`` for a decision that the service did not make."""
    if isinstance(decision, Decision) and decision.local:
        raise ValueError("this decision was made here, while the service was away: it takes no feedback")
    item: Json = {
        "decision_id": decision.decision_id if isinstance(decision, Decision) else decision,
        "offer_id": offer.offer_id if isinstance(offer, Offer) else offer,
        "outcome": outcome,
    }
    if value is not None:
        item["value"] = value
    return item | _time(occurred_at)


def event_item(
    customer_id: str, type_: str, properties: Mapping[str, Any] | None, options: EventOptions
) -> Json:
    """Write an event as it is sent. Without an id of the caller's own it gets one: sent again, it counts once."""
    return {
        "event_id": options.get("event_id") or f"py-{uuid.uuid4().hex}",
        "customer_id": customer_id,
        "type": type_,
        "properties": dict(properties or {}),
    } | _time(options.get("occurred_at"))


def _time(occurred_at: datetime | None) -> Json:
    if occurred_at is None:
        return {}
    if occurred_at.tzinfo is None:
        raise ValueError("occurred_at needs a time zone, such as datetime.now(UTC)")
    return {"occurred_at": occurred_at.astimezone(UTC).isoformat()}
