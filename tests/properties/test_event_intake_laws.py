"""Laws of the intake of events: Redis does what the fold does, in any order and with any repetition."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from decisioning.events.store_events import EventEffects, EventLog, kept_ms
from profiles.events.definitions import MAX_CASES, MAX_CONTACTS
from profiles.events.event import Event
from profiles.events.fold import State, fold, increments_of
from tests.support import contact_world as world
from tests.support.events import DAY_MS, WITH_CASES, make_event

NOW_MS = 4_000_000_000_000
"""Later than any clock, so that nothing is forgotten meanwhile."""
AGES = (
    st.integers(0, 120 * DAY_MS)
    | st.integers(0, 120).map(lambda days: days * DAY_MS)
    | st.integers(0, 7200_000)
)
NUMBERS = st.floats(-1e9, 1e9) | st.integers(-100, 100)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "minutes": NUMBERS,
        "reason": st.sampled_from(("bill", "fault", "é")),
        "due": st.sampled_from(("2030-01-01T00:00:00Z", "soon")),
    },
)
IDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=3)

_names = itertools.count()


@st.composite
def tellings(draw: st.DrawFn) -> list[Event]:
    """Events of one customer as they come: in no order, some more than once."""
    drawn = draw(
        st.lists(
            st.tuples(IDS, st.sampled_from(("call", "view", "other")), AGES, PROPERTIES),
            max_size=20,
            unique_by=lambda one: one[0],
        )
    )
    events = [make_event(name, type_, NOW_MS - age, properties) for name, type_, age, properties in drawn]
    again = draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    return draw(st.permutations([*events, *again]))


async def tell(
    url: str, customer: str, events: Sequence[Event]
) -> tuple[State, list[str], list[dict[bytes, bytes]]]:
    """Record events; returns the state, the answers, and the records of the customer in the log."""
    async with world.redis_log(url) as log:
        event_log = EventLog(log.pipe, log.keys)
        answers = [
            await event_log.record(
                replace(event, customer_id=customer),
                EventEffects(increments_of(WITH_CASES, event), kept_ms(WITH_CASES)),
                NOW_MS - 120 * DAY_MS,
            )
            for event in events
        ]
        packed = await log.pipe.call("GET", log.keys.events(customer))
        entries: list[Any] = await log.pipe.call("XRANGE", log.keys.log(log.keys.bucket(customer)), "-", "+")
        records = [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in entries]
        return (
            msgpack.decode(packed) if packed else {},
            list(answers),
            [record for record in records if record.get(b"cu") == customer.encode()],
        )


def test_contacts_that_no_limit_looks_at_any_more_leave_redis_with_the_next_event(redis_url: str) -> None:
    async def kept() -> list[bytes]:
        async with world.redis_log(redis_url) as log:
            customer, event_log = f"contacts-{next(_names)}", EventLog(log.pipe, log.keys)
            for number, days in enumerate((0, 1, 29, 31)):
                at_ms = NOW_MS + days * DAY_MS
                event = replace(make_event(f"c{number}", "call", at_ms, {}), customer_id=customer)
                effects = EventEffects((), 0, (f"member-{number}",), 30 * DAY_MS)
                assert await event_log.record(event, effects, at_ms) == "recorded"
            found: list[bytes] = await log.pipe.call("ZRANGE", log.keys.contact(customer), 0, -1)
            return found

    assert asyncio.run(kept()) == [b"member-2", b"member-3"]


@settings(max_examples=60)
@given(tellings())
@example([])
def test_redis_folds_as_the_oracle_does_in_any_order_and_with_any_repetition(
    redis_url: str, events: list[Event]
) -> None:
    customer = f"told-{next(_names)}"
    state, answers, records = asyncio.run(tell(redis_url, customer, events))
    assert state == fold(WITH_CASES, events)
    known: set[str] = set()
    for event, answer in zip(events, answers, strict=True):
        assert answer == ("duplicate" if event.event_id in known else "recorded")
        known.add(event.event_id)
    assert sorted(record[b"id"].decode() for record in records) == sorted(known)


def test_redis_keeps_the_newest_cases_as_the_oracle_does(redis_url: str) -> None:
    random = Random(1)
    events = [
        make_event(
            f"e{n}",
            random.choice(("call", "view")),
            NOW_MS - random.randrange(20) * DAY_MS,
            {"reason": f"case {random.randrange(45)}", "due": "2030-01-01T00:00:00Z"},
        )
        for n in range(150)
    ]
    state, _, _ = asyncio.run(tell(redis_url, f"cases-{next(_names)}", events))
    # Of two aggregates it is known which cases are open, of one the events about cases.
    assert sum("/" in field for field in state) == 2 * MAX_CASES + MAX_CONTACTS
    random.shuffle(events)
    assert state == fold(WITH_CASES, events)
