"""Laws of merging: in whatever order, cut off anywhere and repeated, it comes to one customer's history."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import msgpack

from decisioning.events.store_events import EventEffects, EventLog, id_mark, kept_ms
from decisioning.log.store_redis import RedisLog
from decisioning.merging.store_handover import Handover
from profiles.events.event import Event
from profiles.events.fold import Increment, State, fold, increments_of
from storage.redis import make_redis
from tests.support import contact_world as world
from tests.support.events import DAY_MS, make_event
from tests.support.events import WITH_CASES as DEFINITIONS

NOW_MS = 4_000_000_000_000
"""Later than any clock, so that nothing is forgotten meanwhile."""
PEOPLE = 4
"""Three visitors, and the customer: the last one."""
_runs = itertools.count()


@dataclass
class Telling:
    """What is told of whom: an event by its number, with a contact if it is one."""

    person: int
    event: Event
    is_contact: bool


@dataclass
class Merging:
    """Visitor ``alias`` is ``into``; so many of the steps are taken at once, and the rest at the end."""

    alias: int
    into: int
    steps: int


@st.composite
def lives(draw: st.DrawFn) -> list[Telling | Merging]:
    """Events of several, among which all of them turn out to be one, in chains of any form."""
    numbers = st.integers(0, 6)
    tellings = [
        Telling(
            draw(st.integers(0, PEOPLE - 1)),
            make_event(
                f"e{number}",
                "call",
                NOW_MS - number * DAY_MS // 2,
                {"minutes": float(number), "reason": f"r{number % 5}"},
            ),
            number % 2 == 0,
        )
        for number in draw(st.lists(numbers, max_size=12))
    ]
    merges = [
        Merging(n, draw(st.integers(n + 1, PEOPLE - 1)), draw(st.integers(0, 3))) for n in range(PEOPLE - 1)
    ]
    return draw(st.permutations([*tellings, *merges]))


@dataclass
class Lived:
    """The people of one run, on a real Redis."""

    log: RedisLog
    handover: Handover
    names: Sequence[str]
    told: list[Telling] = field(default_factory=list)

    async def tell(self, one: Telling) -> None:
        members = (f"1:cards:grow:d:web:{one.event.event_id}",) if one.is_contact else ()
        effects = EventEffects(
            increments_of(DEFINITIONS, one.event), kept_ms(DEFINITIONS), members, 400 * DAY_MS
        )
        event = replace(one.event, customer_id=self.names[one.person])
        await EventLog(self.log.pipe, self.log.keys).record(event, effects, NOW_MS)

    async def find(self, visitor: str, marks: Collection[bytes]) -> Sequence[Sequence[Increment]]:
        events = {id_mark(one.event.event_id): one.event for one in self.told}
        return [increments_of(DEFINITIONS, event) for mark, event in events.items() if mark in marks]

    async def merge(self, one: Merging, steps: int) -> None:
        """Take the first ``steps`` steps of a merge."""
        alias = self.names[one.alias]
        if steps > 0:
            await self.handover.redirect([(alias, self.names[one.into], None)], NOW_MS)
        if steps > 1:
            await self.handover.hand_over_contacts(alias)
        if steps > 2:
            await self.handover.hand_over_events(alias, DEFINITIONS, kept_ms(DEFINITIONS), NOW_MS, self.find)

    async def state(self) -> State:
        packed = await self.log.pipe.call("GET", self.log.keys.events(self.names[-1]))
        return msgpack.decode(packed, type=State) if packed else {}

    async def contacts(self) -> list[bytes]:
        found: list[bytes] = await self.log.pipe.call("ZRANGE", self.log.keys.contact(self.names[-1]), 0, -1)
        return sorted(found)


@asynccontextmanager
async def people(url: str) -> AsyncIterator[Lived]:
    """People whom nobody knows yet."""
    run, redis = next(_runs), make_redis(url)
    try:
        async with world.redis_log(url) as log:
            names = [f"visitor:{run}-{n}" for n in range(PEOPLE - 1)]
            yield Lived(log, Handover(redis, log.keys), [*names, f"customer-{run}"])
    finally:
        await redis.aclose()


@settings(max_examples=30)
@given(lives(), st.randoms(use_true_random=False))
def test_merges_in_any_order_and_cut_off_anywhere_are_the_fold_of_one_customer(
    redis_url: str, life: list[Telling | Merging], random: Any
) -> None:
    merges = [one for one in life if isinstance(one, Merging)] * 2
    random.shuffle(merges)

    async def run() -> None:
        async with people(redis_url) as lived:
            for one in life:
                if isinstance(one, Merging):
                    await lived.merge(one, one.steps)
                else:
                    lived.told.append(one)
                    await lived.tell(one)
            for one in merges:
                await lived.merge(one, 3)
            events = [one.event for one in lived.told]
            assert await lived.state() == fold(DEFINITIONS, events)
            members = {
                f"1:cards:grow:d:web:{one.event.event_id}".encode() for one in lived.told if one.is_contact
            }
            assert await lived.contacts() == sorted(members)
            assert set(lived.names).isdisjoint(await lived.handover.waiting())

    asyncio.run(run())
