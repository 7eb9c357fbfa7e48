"""Checks of triggers: each mistake names its field and the way out."""

from dataclasses import replace
from typing import Any

import pytest

from decisioning.catalog.triggers.checks import check_trigger, trigger_expressions
from decisioning.model.trigger import Trigger, TriggerChannel, TriggerDelivery, TriggerOn
from profiles.events.event_type import EventType
from rules.vocabulary import Attribute

THINGS: dict[str, dict[str, Any]] = {
    "event_types": dict.fromkeys(("basket", "order", "login"))
    | {
        "parcel": EventType(
            "parcel",
            "Parcel",
            {
                "properties": {
                    "arrives": {"type": "string"},
                    "at": {"type": "string", "format": "date-time"},
                    "born": {"type": "string"},
                    "number": {"type": "integer"},
                    "weight": {"type": "number"},
                }
            },
            personal=("born",),
        )
    },
    "outcomes": {"quoted": None},
    "offers": {"gold": None},
    "groups": {"cards": None},
    "placements": dict.fromkeys(("sms", "call")),
    "attributes": {
        "customer.born": Attribute("customer.born", "string"),
        "customer.age": Attribute("customer.age", "int"),
    },
}
BASKET = TriggerOn(event="basket", unless=("order",), after_s=1800)
DELIVERY = TriggerOn(event="parcel", date="event.arrives", days=-7, key="number")
QUOTED = TriggerOn(outcome="quoted", unless=("accepted",), after_s=604_800)
BORN = TriggerOn(date="customer.born", yearly=True)
IDLE = TriggerOn(idle=("login", "order"), after_s=5_184_000)
TRIGGER = Trigger("t", BASKET, TriggerDelivery(stream="nb:triggered"), placement="sms")
BOTH = (TriggerChannel("sms", 0.05), TriggerChannel("call", 4.0))


@pytest.mark.parametrize(
    "trigger",
    [
        TRIGGER,
        *(
            replace(TRIGGER, on=on)
            for on in (
                TriggerOn(event="basket"),
                replace(BASKET, unless=(), restart=False),
                QUOTED,
                TriggerOn(outcome="accepted", offer="gold"),
                TriggerOn(outcome="rejected", group="cards"),
                BORN,
                replace(BORN, leap_day="03-01", days=-7, at="18:30", time_zone="Europe/Madrid"),
                IDLE,
                DELIVERY,
                replace(DELIVERY, date="event.at", key=None),
            )
        ),
        replace(TRIGGER, placement=None, channels=BOTH),
        replace(TRIGGER, deliver=TriggerDelivery(webhook="https://example.com/x", secret="s")),
        replace(TRIGGER, deliver=TriggerDelivery(stream="others")),
    ],
)
def test_what_can_fire_is_taken(trigger: Trigger) -> None:
    assert list(check_trigger(trigger, THINGS)) == []


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"on": TriggerOn()}, "on", "needs one of event, outcome, date and idle: there is none"),
        ({"on": replace(BASKET, outcome="quoted")}, "on", "there are event and outcome"),
        ({"on": replace(BASKET, event="baskit")}, "on.event", "did you mean 'basket'?"),
        ({"on": replace(BASKET, event="x")}, "on.event", "create it with PUT /v1/event-types/x"),
        ({"on": replace(BASKET, unless=("x",))}, "on.unless", "there is no event 'x'"),
        ({"on": replace(BASKET, after_s=None)}, "on.after_s", "is missing"),
        ({"on": replace(BASKET, key="number")}, "on.key", "means something to a date of an event alone"),
        ({"on": replace(DELIVERY, date="customer.born")}, "on.date", "leave out on.event"),
        ({"on": replace(DELIVERY, event="parcl")}, "on.event", "did you mean 'parcel'?"),
        (
            {"on": replace(DELIVERY, date="event.x")},
            "on.date",
            "events of type 'parcel' have no property 'x'",
        ),
        (
            {"on": replace(DELIVERY, date="event.weight")},
            "on.date",
            "is a number, and must be a timestamp or string",
        ),
        ({"on": replace(DELIVERY, date="event.born")}, "on.date", "is personal"),
        ({"on": replace(DELIVERY, key="weight")}, "on.key", "must be a string or int"),
        ({"on": replace(DELIVERY, after_s=5)}, "on.after_s", "means nothing to a date of an event"),
        ({"on": replace(DELIVERY, yearly=True)}, "on.yearly", "means nothing to a date of an event"),
        ({"on": replace(DELIVERY, time_zone="Mars")}, "on.time_zone", "there is no time zone 'Mars'"),
        ({"on": replace(BASKET, days=3)}, "on.days", "means nothing to event: leave it out"),
        ({"on": replace(BASKET, offer="gold")}, "on.offer", "means nothing to event"),
        ({"on": replace(QUOTED, restart=False)}, "on.restart", "means nothing to outcome"),
        ({"on": replace(QUOTED, outcome="qoted")}, "on.outcome", "did you mean 'quoted'?"),
        ({"on": replace(QUOTED, outcome="x")}, "on.outcome", "declare it with PUT /v1/outcomes/x"),
        ({"on": replace(QUOTED, unless=("order",))}, "on.unless", "there is no outcome 'order'"),
        ({"on": replace(QUOTED, offer="golf")}, "on.offer", "did you mean 'gold'?"),
        ({"on": replace(QUOTED, group="x")}, "on.group", "there is no group 'x'"),
        ({"on": replace(QUOTED, offer="gold", group="cards")}, "on.group", "the offer has one"),
        ({"on": replace(BORN, after_s=5)}, "on.after_s", "means nothing to date"),
        ({"on": replace(BORN, date="customer.bron")}, "on.date", "did you mean 'customer.born'?"),
        (
            {"on": replace(BORN, date="customer.contract")},
            "on.date",
            "declare it with PUT /v1/attributes/customer.contract",
        ),
        ({"on": replace(BORN, date="offer.born")}, "on.date", "must be an attribute of customers"),
        ({"on": replace(BORN, date="customer.age")}, "on.date", "is a int, not a timestamp or a string"),
        ({"on": replace(BORN, yearly=False, leap_day="03-01")}, "on.leap_day", "yearly alone"),
        ({"on": replace(BORN, time_zone="Madrid")}, "on.time_zone", "there is no time zone 'Madrid'"),
        ({"on": replace(IDLE, after_s=None)}, "on.after_s", "is missing: for how many seconds"),
        ({"on": replace(IDLE, idle=("x",))}, "on.idle", "there is no event 'x'"),
        ({"on": replace(IDLE, unless=("order",))}, "on.unless", "means nothing to idle"),
        ({"placement": None}, "placement", "one of the two, not both"),
        ({"channels": BOTH}, "placement", "one of the two, not both"),
        ({"placement": "smss"}, "placement", "did you mean 'sms'?"),
        ({"placement": None, "channels": (BOTH[0], BOTH[0])}, "channels.1.placement", "is named twice"),
        ({"deliver": TriggerDelivery()}, "deliver", "one of the two, not both"),
        ({"deliver": TriggerDelivery("https://x.y", "s", "z")}, "deliver", "one of the two, not both"),
        ({"deliver": TriggerDelivery(stream="nb:arms:x")}, "deliver.stream", "the service's own"),
        ({"deliver": TriggerDelivery("ftp://x", "s")}, "deliver.webhook", "must be an address"),
        ({"deliver": TriggerDelivery("https://x.y")}, "deliver.secret", "is missing"),
        ({"deliver": TriggerDelivery("https://x.y", "whsec_1")}, "deliver.secret", "is a secret itself"),
        ({"deliver": TriggerDelivery(stream="z", secret="s")}, "deliver.secret", "means nothing without"),
    ],
)
def test_what_cannot_is_refused(changes: dict[str, Any], field: str, words: str) -> None:
    errors = {error.field: str(error) for error in check_trigger(replace(TRIGGER, **changes), THINGS)}
    assert words in errors[field]


def test_a_condition_knows_neither_offer_nor_request() -> None:
    assert list(trigger_expressions(TRIGGER)) == []
    (use,) = trigger_expressions(replace(TRIGGER, when="customer.known"))
    assert (use.field, use.source, use.may_use_offer, use.may_use_context) == (
        "when",
        "customer.known",
        False,
        False,
    )


def test_placements_that_may_be_decided_for() -> None:
    assert TRIGGER.choices == (TriggerChannel("sms"),)
    assert replace(TRIGGER, placement=None, channels=BOTH).choices == BOTH
