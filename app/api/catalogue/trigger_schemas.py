"""Schemas of triggers. Field names are those of the catalogue's model."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from app.api.catalogue.event_schemas import Title
from app.api.catalogue.field_types import Clock, Seconds, TimeZone, Webhook
from app.api.schemas import Body, Cel, Id, Name, Text, Worth, examples
from app.api.values import attribute_path, form, seconds, stream_name
from decisioning.model.trigger import DEFAULT_AGAIN_S, DEFAULT_WITHIN_S, LeapDay, TriggerStatus

DatePath = Annotated[str, form(r"^(customer|event)\.[A-Za-z_][A-Za-z0-9_]{0,63}$", attribute_path)]
StreamName = Annotated[str, form(r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,127}$", stream_name)]


class TriggerOnBody(Body):
    """The occasion: one of `event`, `outcome`, `date` and `idle`, or `event` with `date`."""

    event: Id | None = Field(None, description="a type of events")
    outcome: Id | None = Field(None, description="an outcome of a decided offer")
    date: DatePath | None = Field(
        None,
        description="an attribute that holds a date, such as `customer.birth_date`; with `event` a property of it, such"
        " as `event.delivery_date`",
    )
    key: Name | None = Field(
        None,
        description="of a date of an event: the property that tells what it is of, for which it fires once",
    )
    idle: list[Id] = Field(
        default_factory=list, max_length=20, description="types of events of which none came for `after_s`"
    )
    unless: list[Id] = Field(
        default_factory=list,
        max_length=20,
        description="it does not fire if one of these comes before `after_s` is over: types of events, or outcomes"
        " of the same decided offer",
    )
    after_s: Seconds | None = Field(None, description="fires so many seconds after the event or outcome")
    restart: bool = Field(True, description="a newer event begins the wait of `after_s` anew")
    offer: Id | None = Field(None, description="outcomes of this offer alone")
    group: Id | None = Field(None, description="outcomes of offers of this group alone")
    days: int = Field(0, ge=-3660, le=3660, description="so many days after the date; negative: before it")
    yearly: bool = Field(False, description="each year, as birthdays are")
    leap_day: LeapDay = Field(
        "02-28", description="when a yearly 29 February is kept in years that have none: month and day"
    )
    at: Clock = Field("09:00", description="the time of the day")
    time_zone: TimeZone = Field(
        "UTC", description="of `at`, for customers without an attribute `time_zone` of their own"
    )


class TriggerChannelBody(Body):
    """A placement that may be decided for, and what a contact there costs."""

    placement: Id
    cost: Worth = Field(0.0, description="in the unit of the values of offers")


class TriggerDeliveryBody(Body):
    """The destination of decisions: a signed `webhook`, or a `stream` of Redis."""

    webhook: Webhook | None = None
    secret: Id | None = Field(
        None, description="the file of `NEXTBEST_WEBHOOK_SECRETS` that holds what requests are signed with"
    )
    stream: StreamName | None = None


class TriggerBody(Body):
    """A rule by which a decision is made unasked: `on` an occasion, if `when` holds for the customer then."""

    model_config = examples(
        {
            "name": "Wants to leave",
            "on": {"event": "call"},
            "when": "customer.age >= 30",
            "placement": "desk",
            "deliver": {"webhook": "https://example.com/hooks/nextbest", "secret": "triggers"},
            "within_s": 3600,
        },
        {
            "name": "Looked, and did not order",
            "on": {"event": "page-view", "unless": ["order"], "after_s": 1800},
            "channels": [{"placement": "home", "cost": 0.05}, {"placement": "desk", "cost": 4}],
            "deliver": {"stream": "nb:triggered"},
        },
        {
            "name": "Birthday",
            "on": {"date": "customer.birth_date", "yearly": True, "time_zone": "Europe/Madrid"},
            "placement": "home",
            "deliver": {"stream": "nb:triggered"},
        },
    )

    on: TriggerOnBody
    deliver: TriggerDeliveryBody
    placement: Id | None = Field(None, description="the placement that is decided for")
    channels: list[TriggerChannelBody] = Field(
        default_factory=list, max_length=10, description="instead of `placement`: the best of these"
    )
    when: Cel | None = Field(
        None,
        description="a condition on customer, events, interests, history and now, when it fires; with on.event also on"
        " event, the properties of what set it off",
    )
    within_s: Seconds = Field(
        DEFAULT_WITHIN_S, description="what is not delivered so many seconds after it fired is dropped"
    )
    again_after_s: Annotated[int, BeforeValidator(seconds)] = Field(
        DEFAULT_AGAIN_S,
        ge=0,
        le=366 * 86_400,
        description="it does not fire again for the same customer before",
    )
    status: TriggerStatus = "live"
    name: Title = ""
    description: Text = ""

    def stored(self) -> dict[str, Any]:
        """Return the form that is kept, without a key where there is none: earlier versions refuse the field."""
        found = super().stored()
        if found["on"]["key"] is None:
            del found["on"]["key"]
        return found
