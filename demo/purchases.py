"""Purchases as events: those of the last week of the data, what is made of them, and the trigger that follows up.

An event is what one basket has of one department. The last day of the data is today: purchases of the six days before
are sent when everything is set up, those of the last day while visitors come.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby

import numpy as np

from demo.client import ApiClient, Json
from demo.customers import slug
from demo.features import DEPARTMENTS, department_groups
from demo.journey import DATA_END, Journey
from demo.names import CHANNELS, FOLLOW_UP, PURCHASE, customer_id
from demo.visitors import VisitTally, wait_or_stop
from nextbest_client import NextbestError

TRIGGER = "follow-up"
DAYS_BEFORE = 6
"""Days before the last one; events may be seven days old."""
BASKETS_PER_S = 10.0
BATCH_SIZE = 500
LARGE_BASKET = 40.0
FOLLOW_UP_S = 2

Basket = list[Json]
"""The events of one basket, without their time."""


@dataclass(frozen=True, slots=True)
class Purchases:
    """Baskets of the last day of the data, and events of the days before it."""

    today: list[Basket]
    before: list[Json]


def before_offers() -> Iterator[tuple[str, Json]]:
    """Yield path and body of what is made of purchases: a type of events, a sum, and a concept for each department."""
    properties = {"department": {"enum": [slug(name) for name in DEPARTMENTS]}, "amount": {"type": "number"}}
    schema = {"properties": properties, "required": [*properties], "additionalProperties": False}
    yield f"/v1/event-types/{PURCHASE}", {"name": "Purchase in one department", "json_schema": schema}
    yield (
        "/v1/aggregates/spent_1d",
        {"event": PURCHASE, "function": "sum", "property": "amount", "window": "1d"},
    )
    for department in DEPARTMENTS:
        signal = {"event": PURCHASE, "where": f"event.department == '{slug(department)}'"}
        name = department.capitalize()
        yield f"/v1/concepts/{slug(department)}", {"name": name, "half_life": "7d", "signals": [signal]}


def trigger() -> tuple[str, Json]:
    """Return path and body of the trigger: after a large basket, coupons by mail."""
    return f"/v1/triggers/{TRIGGER}", {
        "name": f"Coupons after {LARGE_BASKET:.0f} dollars in a day",
        "on": {"event": PURCHASE, "after_s": FOLLOW_UP_S},
        "when": f"events.spent_1d >= {LARGE_BASKET}",
        "placement": FOLLOW_UP,
        "within_s": 600,
        "deliver": {"stream": "nb:triggered"},
    }


def follow_up_placement(reward_window_s: int) -> tuple[str, Json]:
    """Return path and body of the placement that the trigger asks for. Nobody says whether its mail was sent."""
    return f"/v1/placements/{FOLLOW_UP}", {
        "channel": CHANNELS[FOLLOW_UP],
        "slots": 1,
        "policy": "calibrated",
        "presentation": "explicit",
        "reward_window_s": reward_window_s,
    }


def build_purchases(journey: Journey, today: date) -> Purchases:
    """Make the events of the last week of the data, moved so that its last day is ``today``."""
    lines = journey.transactions
    lines = lines.where(lines.day >= DATA_END - np.timedelta64(DAYS_BEFORE, "D"))
    days = (lines.day - DATA_END).astype(np.int64)
    departments = department_groups(journey)[lines.product]
    columns = np.stack([days, lines.basket, lines.household, departments])
    keys, places = np.unique(columns, axis=1, return_inverse=True)
    amounts = np.bincount(places.ravel(), weights=lines.sales_value)
    before: list[Json] = []
    last: list[Basket] = []
    rows = zip(keys.T.tolist(), amounts.tolist(), strict=True)
    for (day, basket, household), group in groupby(rows, key=lambda row: tuple(row[0][:3])):
        events = [
            {
                "event_id": f"basket-{basket}-{DEPARTMENTS[department].lower()}",
                "customer_id": customer_id(journey.households[household]),
                "type": PURCHASE,
                "properties": {"department": slug(DEPARTMENTS[department]), "amount": round(amount, 2)},
            }
            for (*_, department), amount in group
        ]
        if day == 0:
            last.append(events)
        else:
            noon = datetime.combine(today + timedelta(days=day), time(12), UTC)
            before += [event | {"occurred_at": noon.isoformat()} for event in events]
    return Purchases(last, before)


@dataclass
class Shoppers:
    """Sends the baskets of the last day as of the moment, one after the other, and then all of them anew."""

    api: ApiClient
    baskets: list[Basket]
    tally: VisitTally
    baskets_per_s: float = BASKETS_PER_S
    _round: int = field(default=0, init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Send baskets until ``stop``; what cannot be sent is counted as an error."""
        while not stop.is_set():
            for basket in self.baskets:
                await self._send(basket)
                await wait_or_stop(stop, 1 / self.baskets_per_s)
                if stop.is_set():
                    break
            self._round += 1

    async def _send(self, basket: Basket) -> None:
        events = [event | {"event_id": f"{event['event_id']}-{self._round}"} for event in basket]
        try:
            self.tally.events.update(await self.api.events(events))
        except NextbestError as error:
            self.tally.errors[f"events: {type(error).__name__}"] += 1
