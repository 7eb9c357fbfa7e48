"""Events, as they travel."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, StringConstraints, WrapValidator

from app.api.batch import MAX_ITEMS, BatchAnswer, ItemAnswer, MalformedItem, or_malformed
from app.api.schemas import Body, CustomerId, Instant, Name, examples, shown, storable
from decisioning.events.intake_service import ReceivedEvent
from storage.clock import floor_ms

_DEGRADED = "there only if something is wrong: `archive_stands_still`: it is in the log, and not yet archived"
_CALL = {
    "event_id": "call-2026-77012",
    "customer_id": "1025",
    "type": "call",
    "properties": {"reason": "bill", "minutes": 7.5},
}
Recorded = Literal["recorded", "duplicate"]


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable characters, such as a UUID or order-7")
    return value


EventId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    AfterValidator(storable),
    AfterValidator(_printable),
]


class EventRequest(Body):
    """Something that happened to a customer."""

    model_config = examples(_CALL)

    event_id: EventId = Field(description="the same id of the same customer is the same event")
    customer_id: CustomerId
    type: Name = Field(description="a declared one: see /v1/event-types")
    occurred_at: Instant | None = Field(
        None, description="when it happened, by default now; at most seven days ago"
    )
    properties: dict[str, Any] = Field(
        default_factory=dict, description="as the type says; nulls are left out"
    )

    def received(self) -> ReceivedEvent:
        """Return it as the intake takes it."""
        at_ms = None if self.occurred_at is None else floor_ms(self.occurred_at)
        return ReceivedEvent(self.event_id, self.customer_id, self.type, self.properties, at_ms)


class EventAnswer(BaseModel):
    """``recorded``: it is in the log, and counts. ``duplicate``: it had been recorded before."""

    model_config = shown({"status": "recorded"})

    status: Recorded
    degraded: list[str] | None = Field(None, description=_DEGRADED)


class EventBatch(Body):
    """Many events; each is answered for itself, whatever is wrong with others."""

    model_config = examples({"items": [_CALL, {**_CALL, "event_id": "call-2026-77013"}]})

    items: list[Annotated[EventRequest | Any, WrapValidator(or_malformed(EventRequest))]] = Field(
        min_length=1, max_length=MAX_ITEMS
    )

    def events(self) -> "list[EventRequest | MalformedItem]":
        """The items, those that are no events among them."""
        return list(self.items)


_Many = Annotated[list[Any], Field(min_length=1, max_length=MAX_ITEMS)]


class Shaped(RootModel[dict[str, Any] | _Many]):
    """One event in the shape of others, or a list of up to 1,000."""

    @property
    def is_one(self) -> bool:
        """True if there is one event alone, which is not in a list."""
        return isinstance(self.root, dict)

    def items(self) -> list[Any]:
        """The events, also one alone."""
        return [self.root] if isinstance(self.root, dict) else self.root


def _shaped(*values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(values)})


_TRACK = {
    "type": "track",
    "messageId": "ajs-5f1",
    "userId": "1025",
    "event": "Call",
    "properties": {"reason": "bill"},
}


class SegmentCalls(Shaped):
    """One call of Segment, a list of up to 1,000, or a `batch` of them."""

    model_config = _shaped(_TRACK, {"batch": [_TRACK]})

    @property
    def is_one(self) -> bool:
        """True if there is one call alone."""
        return isinstance(self.root, dict) and not self._batch()

    def calls(self) -> list[Any]:
        """The calls, also one alone."""
        return self._batch() or self.items()

    def _batch(self) -> list[Any]:
        found = self.root.get("batch") if isinstance(self.root, dict) else None
        return found if isinstance(found, list) and len(found) <= MAX_ITEMS else []


class SnowplowEvents(Shaped):
    """One enriched event of Snowplow, or a list of up to 1,000."""

    model_config = _shaped(
        {
            "event_id": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
            "user_id": "1025",
            "event": "unstruct",
            "event_name": "call",
            "unstruct_event_com_example_call_1": {"reason": "bill"},
        }
    )


class CloudEvents(Shaped):
    """One CloudEvent, or a list of up to 1,000."""

    model_config = _shaped(
        {
            "specversion": "1.0",
            "id": "A234",
            "source": "/crm",
            "type": "call",
            "subject": "1025",
            "data": {"reason": "bill"},
        }
    )


class EventItemAnswer(ItemAnswer):
    __doc__ = ItemAnswer.__doc__

    status: Literal[Recorded, "refused"]


class EventBatchAnswer(BatchAnswer):
    __doc__ = BatchAnswer.__doc__

    model_config = shown(
        {
            "refused": 1,
            "items": [
                {"index": 0, "status": "recorded", "code": 200, "field": None, "reason": None},
                {
                    "index": 1,
                    "status": "refused",
                    "code": 422,
                    "field": "type",
                    "reason": "type: there is no event type 'cal'; did you mean 'call'?",
                },
            ],
        }
    )

    items: list[EventItemAnswer]
    degraded: list[str] | None = Field(None, description=_DEGRADED)
