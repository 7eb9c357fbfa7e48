"""Schemas of types of events, and of what is made of events. Field names are those of the catalogue's model."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from app.api.schemas import Body, Cel, Id, Name, Text, examples, storable
from app.api.values import duration, form
from profiles.events.declared import MAX_PERIODS, MAX_WEIGHT, Against, Function, Measure, Unit

Duration = Annotated[str, form(r"^[1-9][0-9]{0,6}[smhd]$", duration)]
Title = Annotated[str, StringConstraints(max_length=200), AfterValidator(storable)]


class EventContactBody(Body):
    """The contact that an event of this type is: in a channel, with an offer, with a group, or with neither."""

    channel: Id
    group: Id | None = Field(None, description="contacts with offers of this group")
    offer: Id | None = Field(None, description="contacts with this offer, and so with its group")


class EventTypeBody(Body):
    """A type of events. Those that are `contact`s, made by other systems, count in contact limits."""

    model_config = examples(
        {
            "name": "Call to the call centre",
            "json_schema": {
                "properties": {
                    "reason": {"enum": ["bill", "cancel", "fault"]},
                    "minutes": {"type": "number", "minimum": 0},
                    "caller": {"type": "string"},
                },
                "required": ["reason"],
                "additionalProperties": False,
            },
            "personal": ["caller"],
            "retention_days": 400,
        },
        {"name": "Letter of the bank", "contact": {"channel": "mail"}},
    )

    name: Name
    json_schema: dict[str, Any] = Field(
        default_factory=dict,
        description="JSON Schema of the properties; it refers to nothing outside of itself",
    )
    contact: EventContactBody | None = None
    personal: list[Name] = Field(
        default_factory=list, max_length=100, description="properties that are personal data"
    )
    retention_days: int | None = Field(
        None, ge=1, le=36_525, description="how long the archive keeps such events; as all else if left out"
    )
    description: Text = ""


class AggregateBody(Body):
    """A value that rules know as `events.<id>`: a number, or the last value, made of the events of one type."""

    model_config = examples(
        {"event": "call", "function": "count", "where": "event.reason == 'bill'", "window": "7d"},
        {"event": "call", "function": "deviation", "window": "30d", "periods": 6},
        {"event": "page-view", "function": "last", "property": "path", "window": "30m"},
    )

    event: Id = Field(description="the type of events")
    function: Function
    property: Name | None = Field(None, description="what is summed up, averaged or remembered")
    where: Cel | None = Field(
        None, description="a condition on `event.<property>`; only events that meet it count"
    )
    window: Duration | None = Field(
        None, description="how far back it looks; for `deviation` the length of a period"
    )
    tile: Duration | None = Field(
        None, description="the edge of the window is exact to this; a sixtieth of it if left out"
    )
    of: Measure = Field("count", description="what `deviation` compares, period by period")
    periods: int = Field(
        6, ge=2, le=MAX_PERIODS, description="earlier periods that make the customer's habit"
    )
    min_periods: int = Field(
        3, ge=2, le=MAX_PERIODS, description="with fewer of them there is no `deviation`"
    )
    against: Against = Field(
        "self", description="what `deviation` compares with: the customer's own habit, or all customers"
    )
    unit: Unit = Field("days", description="of `recency`")
    key: Name | None = Field(
        None,
        description="the property that tells cases apart, of `open` and `overdue`; a `count`, or a `deviation` against"
        " all, with one is about the case with the most events",
    )
    closed_by: Id | None = Field(None, description="with a `key`: the type of events that close a case")
    due: Name | None = Field(
        None, description="of `overdue`: the property that says by when a case is to be closed"
    )
    name: Title = ""
    description: Text = ""


class SignalBody(Body):
    """Events that tell of a concept, each as much as `weight`."""

    event: Id
    weight: float = Field(1.0, gt=0, le=MAX_WEIGHT, allow_inf_nan=False)
    where: Cel | None = Field(None, description="a condition on `event.<property>`")


class ConceptBody(Body):
    """An interest, `interests.<id>` in rules: weights of events, which lose half in every `half_life`."""

    model_config = examples(
        {
            "name": "Sport",
            "half_life": "30d",
            "signals": [
                {"event": "page-view", "where": "event.path.startsWith('/sport')"},
                {"event": "order", "weight": 5, "where": "event.department == 'sport'"},
            ],
        }
    )

    signals: list[SignalBody] = Field(default_factory=list, max_length=100)
    half_life: Duration = "30d"
    name: Title = ""
    description: Text = ""
