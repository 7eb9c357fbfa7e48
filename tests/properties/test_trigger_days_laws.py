"""Laws of triggers on dates: whenever workers look, and wherever they are killed, each day fires once where it is due.

Customers and what fired are in a real PostgreSQL; the clock is the test's own. A plain search says what is due: it asks
of each day whether it is one, where the product reckons from what an attribute holds to its day.
"""

import asyncio
import calendar
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.catalog.catalogue import Catalogue, build_catalogue
from decisioning.catalog.kind import Entry
from decisioning.log.store_stream import Batch
from decisioning.model.trigger import TriggerOn
from decisioning.triggers.days_service import DayWatch
from decisioning.triggers.following_service import TriggerFollower
from decisioning.triggers.store_days import DaysStore
from decisioning.triggers.store_following import TriggerStore
from decisioning.triggers.waiting import Plan
from storage.clock import HOUR_MS, MINUTE_MS, to_ms
from storage.postgres import make_engine, transaction

WITHIN_S = 2 * 86_400
ONS: dict[str, dict[str, Any]] = {
    "birthday": {"date": "customer.born", "yearly": True},
    "leap-march": {"date": "customer.born", "yearly": True, "leap_day": "03-01", "time_zone": "Europe/Madrid"},
    "two-before": {"date": "customer.born", "yearly": True, "days": -2, "at": "00:00"},
    "ends": {"date": "customer.ends", "days": 1, "at": "23:45"},
}  # fmt: skip
YEARS = (2027, 2028)
"""One without 29 February, and one with it."""
TABLES = "customers, trigger_firings, trigger_waits, trigger_positions, trigger_scans, trigger_seeds"

Fired = tuple[str, str, str, int]
"""Trigger, customer, occasion and time (Unix ms)."""


def catalogue_with(version: int, paused: bool) -> Catalogue:
    """A catalogue with all of the triggers; ``birthday`` may be paused."""
    entries: list[Entry] = [
        ("placement", "home", {"channel": "web"}),
        ("attribute", "customer.born", {"type": "string"}),
        ("attribute", "customer.ends", {"type": "string"}),
    ]
    for name, on in ONS.items():
        body = {"deliver": {"stream": "s"}, "placement": "home", "again_after_s": 0, "within_s": WITHIN_S}
        status = "paused" if paused and name == "birthday" else "live"
        entries.append(("trigger", name, body | {"on": on, "status": status}))
    return build_catalogue(version, entries, {})


EDITIONS = {False: catalogue_with(1, False), True: catalogue_with(2, True)}


class KilledError(Exception):
    """The worker was killed."""


@dataclass
class World:
    """The clock, the customers as they are stored, and the fate of the worker."""

    engine: AsyncEngine
    now_ms: int
    customers: dict[str, dict[str, str]] = field(default_factory=dict)
    paused: bool = False
    steps_left: int | None = None
    meanwhile: Callable[[], Awaitable[None]] | None = None

    def step(self) -> None:
        """Be killed here if it is time to."""
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise KilledError

    async def put(self, customer_id: str, attributes: dict[str, str]) -> None:
        """Store a customer, in the place of what was known."""
        self.customers[customer_id] = attributes
        query = text("""
            INSERT INTO customers (customer_id, attributes) VALUES (:id, cast(:attributes AS jsonb))
            ON CONFLICT (customer_id) DO UPDATE SET attributes = excluded.attributes
        """)
        async with transaction(self.engine) as connection:
            await connection.execute(query, {"id": customer_id, "attributes": to_json(attributes).decode()})


@dataclass
class Days:
    """The real store; the worker may be killed before and after each of its turns."""

    world: World

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Any]:
        self.world.step()
        async with DaysStore(self.world.engine).turn() as turn:
            yield turn
            self.world.step()
        self.world.step()

    async def held(self, name: str, day: str, _: int) -> AsyncGenerator[Any]:
        if self.world.meanwhile is not None:
            work, self.world.meanwhile = self.world.meanwhile, None
            await work()
        async for page in DaysStore(self.world.engine).held(name, day, 1):
            yield page
            self.world.step()


class Always:
    """Conditions that hold."""

    async def hold(self, _: Catalogue, asked: Sequence[Any], __: int) -> list[bool]:
        return [True for _ in asked]


class NoLog:
    """A log in which nothing happens."""

    async def last_positions(self) -> dict[int, Any]:
        return {}

    async def read(self, positions: Mapping[int, Any], **_: Any) -> Batch:
        return Batch()


async def _nobody(_: str) -> None:
    return None


def is_day(on: TriggerOn, held: date, day: date) -> bool:
    """Whether a trigger fires on a day for a date: asked of the day, not reckoned from the date."""
    base = day - timedelta(days=on.days)
    if not on.yearly:
        return base == held
    if base.year < held.year:
        return False
    if (held.month, held.day) == (2, 29) and not calendar.isleap(base.year):
        return f"{base:%m-%d}" == on.leap_day
    return (base.month, base.day) == (held.month, held.day)


def due(world: World, since: Mapping[str, int]) -> set[Fired]:
    """Search for all that is due by now, day by day. ``since``: for the triggers that are live, in Unix ms."""
    found = set()
    for name, trigger in EDITIONS[world.paused].triggers.items():
        if name not in since:
            continue
        on, after_ms = trigger.on, max(since[name], world.now_ms - WITHIN_S * 1000)
        for customer_id, attributes in world.customers.items():
            zone = ZoneInfo(attributes.get("time_zone", on.time_zone))
            value = attributes.get(str(on.date).removeprefix("customer."), "")
            try:
                at = datetime.fromisoformat(value)
            except ValueError:
                continue
            held = (at.astimezone(zone) if at.tzinfo else at).date()
            first = datetime.fromtimestamp(after_ms / 1000, UTC).date() - timedelta(days=2)
            for number in range((world.now_ms - after_ms) // (24 * HOUR_MS) + 6):
                day = first + timedelta(days=number)
                at_ms = to_ms(datetime.combine(day, time.fromisoformat(on.at), zone))
                if is_day(on, held, day) and after_ms < at_ms <= world.now_ms:
                    found.add((name, customer_id, f"day {day.isoformat()}", at_ms))
    return found


async def live(
    engine: AsyncEngine, year: int, actions: Sequence[Any]
) -> tuple[set[Fired], set[Fired], set[Fired]]:
    """Let it happen; returns what fired, what had to, and what might have: a worker may be killed half way."""
    world = World(engine, to_ms(datetime(year, 2, 25, 3, tzinfo=UTC)))
    async with transaction(engine) as connection:
        await connection.execute(text(f"TRUNCATE {TABLES} CASCADE"))
    follower = TriggerFollower(
        TriggerStore(engine), NoLog(), Always(), _nobody, 1, lambda: world.now_ms
    )  # fmt: skip
    watch = DayWatch(Days(world), Always(), lambda: world.now_ms)
    since: dict[str, int] = {}
    must: set[Fired] = set()
    may: set[Fired] = set()
    for action in [("pause", False), *actions, ("look", None)]:
        match action:
            case "put", customer_id, attributes:
                await world.put(customer_id, attributes)
            case "pass", ms:
                world.now_ms += ms
            case "pause while a worker looks", paused:
                before = EDITIONS[world.paused]

                async def pause(edition: Catalogue = EDITIONS[paused]) -> None:
                    await follower.follow(edition, Plan(edition.triggers))

                world.meanwhile, world.paused = pause, paused
                await watch.look(before, Plan(before.triggers).dated)
                assert vars(world)["meanwhile"] is None, "it was paused while the worker looked"
                since = dict.fromkeys(Plan(EDITIONS[paused].triggers).triggers, world.now_ms)
            case "pause", paused:
                world.paused = paused
                catalogue = EDITIONS[paused]
                await follower.follow(catalogue, Plan(catalogue.triggers))
                now_live = Plan(catalogue.triggers).triggers
                since = {name: since.get(name, world.now_ms) for name in now_live}
            case "look", steps:
                catalogue, world.steps_left = EDITIONS[world.paused], steps
                found = due(world, since)
                try:
                    await watch.look(catalogue, Plan(catalogue.triggers).dated)
                    must |= found
                except KilledError:
                    may |= found
                world.steps_left = None
                since = await _scanned(engine, since, world.now_ms)
                # What is not looked for again has fired, though the worker was killed right after that.
                must |= {one for one in found if since[one[0]] == world.now_ms}
    async with transaction(engine) as connection:
        query = text("SELECT trigger_id, customer_id, occasion, fired_at FROM trigger_firings")
        rows = (await connection.execute(query)).all()
    fired = {(row.trigger_id, row.customer_id, row.occasion, to_ms(row.fired_at)) for row in rows}
    assert len({one[:3] for one in fired}) == len(rows)
    return fired, must, may


async def _scanned(engine: AsyncEngine, since: Mapping[str, int], now_ms: int) -> dict[str, int]:
    """Up to when was looked: a look moves it to its own time or not at all."""
    async with transaction(engine) as connection:
        rows = (await connection.execute(text("SELECT trigger_id, scanned_until FROM trigger_scans"))).all()
    found = {row.trigger_id: to_ms(row.scanned_until) for row in rows}
    assert found.keys() == since.keys()
    assert all(at_ms in (since[name], now_ms) for name, at_ms in found.items())
    return found


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(postgres_url: str, runner: asyncio.Runner) -> Iterator[AsyncEngine]:
    engine = make_engine(postgres_url, pool_size=3)
    yield engine
    runner.run(engine.dispose())


@st.composite
def attributes(draw: st.DrawFn) -> dict[str, str]:
    """What a customer holds: a birthday near the end of February, when something ends, and perhaps a zone."""
    born = ("1992-02-29", "2028-02-29", "1990-02-28", "1990-03-01", "1990-03-02T23:30:00-10:00", "1992-02-30")
    ends = ("2027-02-27", "2028-02-28", "2028-02-29", "2027-03-01T01:00:00+14:00", "soon")
    found = {"born": draw(st.sampled_from(born)), "ends": draw(st.sampled_from(ends))}
    zone = draw(st.sampled_from((None, "Pacific/Kiritimati", "Pacific/Honolulu", "Asia/Kathmandu")))
    return found if zone is None else found | {"time_zone": zone}


CUSTOMERS = st.sampled_from(("x", "y"))
PASSES = (MINUTE_MS, 15 * MINUTE_MS, 6 * HOUR_MS, 9 * HOUR_MS, 24 * HOUR_MS, 60 * HOUR_MS)
ACTIONS = st.one_of(
    st.tuples(st.just("put"), CUSTOMERS, attributes()),
    st.tuples(st.just("pass"), st.sampled_from(PASSES)),
    st.tuples(st.just("pause"), st.booleans()),
    st.tuples(st.just("look"), st.none() | st.integers(0, 12)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    year=st.sampled_from(YEARS),
    held=st.tuples(attributes(), attributes()),
    actions=st.lists(ACTIONS, max_size=16),
)
def test_the_days_that_fire_are_those_that_a_search_finds(
    runner: asyncio.Runner,
    engine: AsyncEngine,
    year: int,
    held: tuple[dict[str, str], dict[str, str]],
    actions: Sequence[Any],
) -> None:
    puts = [("put", name, one) for name, one in zip("xy", held, strict=True)]
    fired, must, may = runner.run(live(engine, year, [*puts, *actions]))
    assert must <= fired <= must | may


@pytest.mark.parametrize(("year", "march"), [(2027, "2027-03-01"), (2028, "2028-02-29")])
def test_the_search_and_the_triggers_find_all_kinds(
    runner: asyncio.Runner, engine: AsyncEngine, year: int, march: str
) -> None:
    actions: list[Any] = [
        ("put", "x", {"born": "1992-02-29", "ends": f"{year}-02-27"}),
        *[("pass", 6 * HOUR_MS), ("look", None)] * 20,
    ]
    fired, must, _ = runner.run(live(engine, year, actions))
    assert fired == must
    days = {name: occasion.removeprefix("day ") for name, _, occasion, _ in fired}
    kept = "2027-02-28" if year == 2027 else "2028-02-29"
    assert days["birthday"] == kept
    assert days["leap-march"] == march
    assert days.keys() == ONS.keys()


def test_days_that_come_while_a_trigger_is_paused_are_passed_over(
    runner: asyncio.Runner, engine: AsyncEngine
) -> None:
    actions: list[Any] = [
        ("put", "x", {"born": "1990-02-25"}),
        ("pause", True),
        ("pass", 9 * HOUR_MS),
        ("look", None),
        ("pause", False),
        ("pass", HOUR_MS),
    ]
    fired, must, _ = runner.run(live(engine, 2027, actions))
    assert fired == must
    assert "leap-march" in {name for name, *_ in fired}
    assert "birthday" not in {name for name, *_ in fired}


def test_a_look_that_began_before_a_pause_leaves_nothing_behind_for_when_the_trigger_is_live_again(
    runner: asyncio.Runner, engine: AsyncEngine
) -> None:
    actions: list[Any] = [
        ("pass", HOUR_MS),
        ("pause while a worker looks", True),
        ("put", "x", {"born": "1990-02-25"}),
        ("pass", 8 * HOUR_MS),
        ("pause", False),
        ("pass", HOUR_MS),
    ]
    fired, must, _ = runner.run(live(engine, 2027, actions))
    assert fired == must
    assert "birthday" not in {name for name, *_ in fired}
