"""Laws of triggers: whenever workers look, and wherever they are killed, what fires is what a brute-force search finds.

The state is in a real PostgreSQL; the log, its archive, the clock and the conditions are the test's own.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.catalog.catalogue import Catalogue, build_catalogue
from decisioning.catalog.kind import Entry
from decisioning.log.store_stream import Batch
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.triggers.event_days import LATE_MS, Subject
from decisioning.triggers.firing import Candidate
from decisioning.triggers.following_service import TriggerFollower
from decisioning.triggers.store_following import TriggerStore
from decisioning.triggers.waiting import Plan
from profiles.events.event import Event
from storage.clock import DAY_MS, MINUTE_MS, to_ms
from storage.postgres import make_engine, transaction

T0_MS = 1_800_000_000_000
"""2027-01-15 at 8:00 UTC."""
DAYS_MS = {f"2027-01-{14 + n}": T0_MS + n * DAY_MS - DAY_MS + MINUTE_MS for n in range(3)}
"""When triggers on the date of an event fire: at 8:01 on that day. The first is over from the beginning."""
AT_ONCE = 4
"""Entries that one turn reads: more than that takes several."""
DELIVER: dict[str, Any] = {"deliver": {"stream": "s"}, "placement": "home", "again_after_s": 0}
RARE_S, BASKET_S, IDLE_S, QUOTED_S, LONGER_S = 50, 30, 60, 40, 35
BODIES: dict[str, dict[str, Any]] = {
    "now": {"on": {"event": "a"}},
    "rare": {"on": {"event": "a"}, "again_after_s": RARE_S},
    "cond": {"on": {"event": "a"}, "when": "customer.known"},
    "basket": {"on": {"event": "a", "unless": ["b"], "after_s": BASKET_S}},
    "first": {"on": {"event": "a", "unless": ["b"], "after_s": BASKET_S, "restart": False}},
    "idle": {"on": {"idle": ["a", "b"], "after_s": IDLE_S}},
    "quoted": {"on": {"outcome": "quoted", "unless": ["accepted"], "after_s": QUOTED_S}},
    "day": {"on": {"event": "order", "date": "event.day", "at": "08:01"}},
    "keyed-day": {"on": {"event": "order", "date": "event.day", "key": "thing", "at": "08:01"}},
}
AFTER_S = {"basket": BASKET_S, "first": BASKET_S, "idle": IDLE_S, "quoted": QUOTED_S}
TEXT = {"type": "string"}
ENTRIES: list[Entry] = [
    ("group", "cards", {"name": "Cards", "goal": "grow"}),
    ("offer", "gold", {"name": "Gold", "group": "cards"}),
    ("placement", "home", {"channel": "web"}),
    ("outcome", "quoted", {}),
    *(("event", name, {"name": name}) for name in ("a", "b", "c")),
    (
        "event",
        "order",
        {"name": "Order", "json_schema": {"properties": dict.fromkeys(("thing", "day"), TEXT)}},
    ),
]


def catalogue_with(version: int, paused: Collection[str] = (), longer_s: int = 0) -> Catalogue:
    """The catalogue with some triggers paused, or with waits for baskets that are longer."""
    triggers: list[Entry] = []
    for name, body in BODIES.items():
        on = body["on"] | ({"after_s": BASKET_S + longer_s} if name in ("basket", "first") else {})
        status = {"status": "paused"} if name in paused else {}
        triggers.append(("trigger", name, DELIVER | body | {"on": on} | status))
    return build_catalogue(version, [*ENTRIES, *triggers], {"gold": 1})


CATALOGUE = catalogue_with(1)
EDITIONS = {
    "all": CATALOGUE,
    "some": catalogue_with(2, set(BODIES) - {"now", "cond"}),
    "none": catalogue_with(3, BODIES),
    "longer": catalogue_with(4, longer_s=LONGER_S),
}
TABLES = "trigger_firings, trigger_waits, trigger_positions, trigger_scans, trigger_seeds"

Fired = tuple[str, str, str, int]
"""Trigger, customer, occasion and time (Unix ms)."""


class Told(NamedTuple):
    """What was recorded: an event, or an outcome of ``item``."""

    customer_id: str
    name: str
    at_ms: int
    recorded_ms: int
    id: str
    item: str = ""
    thing: str | None = None
    day: str | None = None

    @property
    def properties(self) -> dict[str, str]:
        return {k: v for k, v in (("thing", self.thing), ("day", self.day)) if v is not None}

    @property
    def fires_ms(self) -> int | None:
        """When the day comes that it names; ``None`` if it names none, or one that was over when it happened."""
        at_ms = DAYS_MS.get(self.day or "", 0)
        return at_ms if at_ms > self.at_ms else None

    @property
    def occasion(self) -> str:
        return f"outcome {self.item}/{self.name}" if self.item else f"event {self.id}"


class Look(NamedTuple):
    """A turn that was kept: when, how many entries had been read before and after it, and by which catalogue."""

    now_ms: int
    before: int
    after: int
    edition: str = "all"


class KilledError(Exception):
    """The worker was killed."""


@dataclass
class World:
    """The log, the clock and the fate of the worker."""

    engine: AsyncEngine
    now_ms: int = T0_MS
    told: list[Told] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    steps_left: int | None = None
    read: int = 0
    edition: str = "all"

    def step(self) -> None:
        """Be killed here if it is time to."""
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise KilledError

    @property
    def archived(self) -> list[Told]:
        """The archive: it knows what the turn has read, and nothing behind it."""
        return self.told[: self.read + AT_ONCE]

    def order(self, customer_id: str, thing: str | None, day: str | None, age_ms: int) -> None:
        """Append an event that holds a date to the log."""
        self.record(customer_id, "order", age_ms, is_outcome=False)
        self.told[-1] = self.told[-1]._replace(thing=thing, day=day)

    def record(self, customer_id: str, name: str, age_ms: int, *, is_outcome: bool) -> None:
        """Append to the log."""
        number, at_ms = len(self.told), self.now_ms - age_ms
        item = f"d-{customer_id}/gold" if is_outcome else ""
        if is_outcome and any((t.item, t.name) == (item, name) for t in self.told):
            return  # an outcome counts once
        self.told.append(Told(customer_id, name, at_ms, self.now_ms, f"e{number}", item))

    def holds(self, customer_id: str) -> bool:
        """The condition: an even number of ``b`` so far."""
        return sum(t.customer_id == customer_id and t.name == "b" for t in self.told) % 2 == 0


@dataclass
class Log:
    """The log as the follower reads it."""

    world: World

    async def last_positions(self) -> dict[int, StreamPosition]:
        self.world.step()
        return {0: StreamPosition(f"{len(self.world.told)}-0")}

    async def read(self, positions: Mapping[int, StreamPosition], **_: Any) -> Batch:
        world = self.world
        world.step()
        world.read = positions[0].at_ms
        batch = Batch()
        for number, one in list(enumerate(world.told))[world.read :][:AT_ONCE]:
            at = StreamPosition(f"{number + 1}-0")
            batch.last[0] = at
            if one.item:
                batch.outcomes.append(_outcome(at, one))
            else:
                event = Event(one.id, one.customer_id, one.name, one.at_ms, one.properties)
                batch.events.append(LoggedEvent(0, at, event, one.recorded_ms))
        batch.is_full = len(batch) >= AT_ONCE
        return batch


def _outcome(at: StreamPosition, one: Told) -> Outcome:
    decision_id, _, offer_id = one.item.partition("/")
    return Outcome(
        0, at, decision_id, T0_MS, offer_id, 1, one.name, None, one.at_ms, one.recorded_ms, False, None, 0.5, "p@1",
        "home",
    )  # fmt: skip


@dataclass
class Store:
    """The real store; the worker may be killed before and after each of its steps."""

    world: World

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Any]:
        world = self.world
        world.step()
        async with TriggerStore(world.engine).turn() as turn:
            yield Turn(world, turn)
        if EDITIONS[world.edition] is EDITIONS["none"]:
            world.read = len(world.told)  # what is recorded while all of them rest is not read later
        after = min(world.read + AT_ONCE, len(world.told))
        world.looks.append(Look(world.now_ms, world.read, after, world.edition))
        world.step()


class Turn:
    """A turn of the real store."""

    def __init__(self, world: World, turn: Any) -> None:
        self._world = world
        self._turn = turn

    async def told(self, items: set[str], outcomes: set[str]) -> set[tuple[str, str]]:
        found = {(one.item, one.name) for one in self._world.archived}
        return {(item, name) for item, name in found if item in items and name in outcomes}

    async def later_events(self, asked: Sequence[tuple[str, str, int, str]]) -> set[int]:
        return {
            place
            for place, (customer_id, type_, since_ms, event_id) in enumerate(asked)
            for one in self._world.archived
            if (one.customer_id, one.name) == (customer_id, type_)
            if one.at_ms >= since_ms and one.id != event_id
        }

    async def newest_about(self, asked: Sequence[tuple[Subject, int]]) -> dict[Subject, tuple[int, str]]:
        found = [
            (subject, (one.at_ms, one.id))
            for subject, since_ms in asked
            for one in self._world.archived
            if (one.customer_id, one.name) == (subject.customer_id, subject.type) and one.at_ms >= since_ms
            if one.properties.get(subject.key) == subject.name
        ]
        return dict(sorted(found))

    def __getattr__(self, name: str) -> Any:
        async def stepped(*arguments: Any) -> Any:
            self._world.step()
            found = await getattr(self._turn, name)(*arguments)
            self._world.step()
            return found

        return stepped


@dataclass
class Conditions:
    """Conditions that the test decides."""

    world: World

    async def hold(self, _: Catalogue, asked: Sequence[Candidate], __: int) -> list[bool]:
        self.world.step()
        return [one.trigger.when is None or self.world.holds(one.customer_id) for one in asked]


def follower_of(world: World) -> TriggerFollower:
    """A worker that has just started."""

    async def find(decision_id: str) -> Any:
        return SimpleNamespace(customer_id=decision_id.removeprefix("d-"))

    return TriggerFollower(Store(world), Log(world), Conditions(world), find, 1, lambda: world.now_ms)


def expected(told: Sequence[Told], looks: Sequence[Look]) -> set[Fired]:
    """Search for all that fires: at each look, everything that had been told by then is gone through again."""
    fired: list[Fired] = []
    begun: dict[tuple[str, int], int] = {}
    over: set[tuple[str, int]] = set()
    for now_ms, before, after, edition in looks:
        live = Plan(EDITIONS[edition].triggers).triggers
        fired += _at_once(told, before, after, now_ms, fired, live)
        for number in range(before, after):
            for name in AFTER_S.keys() & live.keys():
                after_ms = 1000 * (live[name].on.after_s or 0)
                if _begins(name, told, number, begun.keys() - over):
                    begun[name, number] = told[number].at_ms + after_ms
        if after - before == AT_ONCE:
            continue  # there may be more: nothing is due yet
        for (name, number), due_ms in begun.items():
            if (name, number) in over or due_ms > now_ms:
                continue
            one, at_ms = told[number], due_ms
            if name in live:
                at_ms = max(due_ms, one.at_ms + 1000 * (live[name].on.after_s or 0))
            if at_ms > now_ms:
                begun[name, number] = at_ms
                continue
            over.add((name, number))
            if name in live and not any(
                _prevents(name, n, t, number, one) for n, t in enumerate(told[:after])
            ):
                fired.append((name, one.customer_id, one.occasion, at_ms))
    return {*fired, *_on_days(told, looks)}


def _on_days(told: Sequence[Told], looks: Sequence[Look]) -> Iterator[Fired]:
    """Search for what the dates of events make fire, and what is noted of days that were over.

    At each look, all that was told of each thing and has not ended is gone through again: the newest of it counts.
    """
    waiting: set[tuple[str, int]] = set()
    done: set[tuple[str, str, str]] = set()
    for now_ms, before, after, edition in looks:
        live = EDITIONS[edition].triggers
        names = [name for name in ("day", "keyed-day") if live[name].status == "live"]
        for number in range(before, after):
            one = told[number]
            for name in names if one.name == "order" else ():
                if name == "keyed-day" and one.thing is None:
                    continue
                if one.day is not None and one.fires_ms is None:
                    yield name, one.customer_id, f"{one.occasion} past", one.at_ms
                if name == "keyed-day" or one.fires_ms is not None:
                    waiting.add((name, number))
        if after - before == AT_ONCE:
            continue  # there may be more: nothing is due yet
        for thing in {_thing(name, told[number]) for name, number in waiting}:
            mine = [(name, number) for name, number in waiting if _thing(name, told[number]) == thing]
            name, last = max(mine, key=lambda one: _newness(told[one[1]]))
            at_ms = told[last].fires_ms
            if now_ms < (told[last].at_ms + LATE_MS if at_ms is None else at_ms):
                continue
            waiting -= {*mine}
            # What was told while the trigger rested is newer than what it waits for.
            newer = any(
                _thing(name, one) == thing and _newness(one) > _newness(told[last]) for one in told[:after]
            )
            if at_ms is not None and name in names and not newer and thing not in done:
                done.add(thing)
                occasion = f"order {thing[2]}" if name == "keyed-day" else told[last].occasion
                yield name, told[last].customer_id, occasion, at_ms


def _thing(trigger: str, one: Told) -> tuple[str, str, str]:
    """What a date is of: its event, or the thing that it names."""
    about = one.thing if trigger == "keyed-day" else one.id
    return trigger, one.customer_id, "" if about is None else about


def _newness(one: Told) -> tuple[int, str]:
    return one.at_ms, one.id


def _at_once(
    told: Sequence[Told],
    before: int,
    after: int,
    now_ms: int,
    earlier: Sequence[Fired],
    live: Collection[str],
) -> list[Fired]:
    """Search for what fires without a wait."""
    fired = list(earlier)
    for one in sorted(told[before:after], key=lambda t: t.at_ms):
        if one.name != "a":
            continue
        b_so_far = sum(t.name == "b" and t.customer_id == one.customer_id for t in _known(told, now_ms))
        last = [at for name, customer, _, at in fired if (name, customer) == ("rare", one.customer_id)]
        holds = {
            "now": True,
            "cond": b_so_far % 2 == 0,
            "rare": all(one.at_ms >= at + RARE_S * 1000 for at in last),
        }
        fired += [
            (name, one.customer_id, one.occasion, one.at_ms) for name in holds if holds[name] and name in live
        ]
    return fired[len(earlier) :]


def _begins(trigger: str, told: Sequence[Told], number: int, open_waits: Collection[tuple[str, int]]) -> bool:
    """Whether a wait begins that is looked at when it is due; what prevents it is looked for then."""
    one = told[number]
    if one.name not in {"basket": "a", "first": "a", "idle": "ab", "quoted": ("quoted",)}[trigger]:
        return False
    if trigger != "first":
        return True
    # Not while the customer's first one is waited for, and nothing that was told behind that has ended it.
    return not any(
        name == trigger
        and told[n].customer_id == one.customer_id
        and not any(_prevents(trigger, m, t, n, told[n]) for m, t in enumerate(told[:number]) if m > n)
        for name, n in open_waits
    )


def _known(told: Sequence[Told], now_ms: int) -> Iterator[Told]:
    yield from (t for t in told if t.recorded_ms <= now_ms)


def _prevents(trigger: str, n: int, other: Told, number: int, one: Told) -> bool:
    """Whether something prevents that a trigger fires for ``one``: told by then, whenever it was told."""
    if other.customer_id != one.customer_id:
        return False
    if trigger == "quoted":
        return (other.item, other.name) == (one.item, "accepted")
    is_newer = (other.at_ms, n) > (one.at_ms, number)
    if trigger == "idle":
        return other.name in "ab" and is_newer
    return (other.name == "b" and other.at_ms >= one.at_ms) or (
        trigger == "basket" and other.name == "a" and is_newer
    )


CUSTOMERS = st.sampled_from(("x", "y"))
AGES = st.sampled_from((0, 0, 0, 1, 7_000, 31_000, 70_000))
THINGS = st.sampled_from(("1", "1", "2", None))
ORDERS = st.tuples(
    st.just("order"), CUSTOMERS, THINGS, st.none() | st.sampled_from([*DAYS_MS, "2027-01-15"]), AGES
)
ACTIONS = st.one_of(
    st.tuples(st.just("event"), CUSTOMERS, st.sampled_from("aaabbc"), AGES),
    st.tuples(st.just("outcome"), CUSTOMERS, st.sampled_from(("quoted", "accepted")), AGES),
    ORDERS,
    st.tuples(st.just("pass"), st.sampled_from((1, 5_000, 29_999, 30_000, 61_000, DAY_MS))),
    st.tuples(st.just("edit"), st.sampled_from(sorted(EDITIONS))),
    st.tuples(st.just("look"), st.none() | st.integers(0, 25), st.booleans()),
)
OF_ONE = st.tuples(
    st.just("order"),
    st.just("x"),
    st.just("1"),
    st.sampled_from(("2027-01-15", "2027-01-16", "2027-01-14", None)),
    st.sampled_from((0, 7_000, 31_000)),
)
DATED_ACTIONS = st.one_of(
    OF_ONE,
    ORDERS,
    st.tuples(st.just("pass"), st.sampled_from((5_000, 61_000, DAY_MS))),
    st.tuples(st.just("edit"), st.sampled_from(("all", "all", "some", "none"))),
    st.tuples(st.just("look"), st.none() | st.integers(0, 25), st.booleans()),
)
"""Nothing but dates of events."""


async def live(engine: AsyncEngine, actions: Sequence[Any]) -> tuple[set[Fired], set[Fired]]:
    """Let it happen; returns what fired, and what should have."""
    world = World(engine)

    async def look(by: TriggerFollower) -> None:
        catalogue = EDITIONS[world.edition]
        await by.follow(catalogue, Plan(catalogue.triggers))

    async with transaction(engine) as connection:
        await connection.execute(text(f"TRUNCATE {TABLES}"))
    follower = follower_of(world)
    await look(follower)
    for action in [*actions, ("pass", 1), *[("look", None, False)] * (len(actions) // AT_ONCE + 2)]:
        match action:
            case "event" | "outcome" as kind, customer_id, name, age_ms:
                world.record(customer_id, name, age_ms, is_outcome=kind == "outcome")
            case "order", customer_id, thing, day, age_ms:
                world.order(customer_id, thing, day, age_ms)
            case "pass", ms:
                world.now_ms += ms
            case "edit", edition:
                world.edition = edition
            case "look", steps, starts_anew:
                world.steps_left = steps
                if starts_anew:
                    follower = follower_of(world)
                try:
                    await look(follower)
                except KilledError:
                    follower = follower_of(world)
                world.steps_left = None
                world.now_ms += 1  # no two looks at one time
    async with transaction(engine) as connection:
        query = text("SELECT trigger_id, customer_id, occasion, fired_at FROM trigger_firings")
        rows = (await connection.execute(query)).all()
    fired = {(row.trigger_id, row.customer_id, row.occasion, to_ms(row.fired_at)) for row in rows}
    assert len(fired) == len(rows)
    ends = [look.after for look in world.looks]
    for before, one in itertools.pairwise(world.looks):
        assert one.before == before.after or "none" in (before.edition, one.edition), "read in one turn"
    assert ends[-1] == len(world.told)
    return fired, expected(world.told, world.looks)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(postgres_url: str, runner: asyncio.Runner) -> Iterator[AsyncEngine]:
    engine = make_engine(postgres_url, pool_size=1)
    yield engine
    runner.run(engine.dispose())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, max_size=25))
def test_what_fires_is_what_a_search_finds(
    runner: asyncio.Runner, engine: AsyncEngine, actions: Sequence[Any]
) -> None:
    fired, wanted = runner.run(live(engine, actions))
    assert fired == wanted


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(OF_ONE, min_size=2, max_size=3), actions=st.lists(DATED_ACTIONS, max_size=12))
def test_what_fires_on_dates_of_events_is_what_a_search_finds(
    runner: asyncio.Runner, engine: AsyncEngine, first: Sequence[Any], actions: Sequence[Any]
) -> None:
    ends: list[Any] = [("look", None, True), ("pass", 61_000), ("look", None, False), ("pass", DAY_MS)]
    fired, wanted = runner.run(live(engine, [*first, *actions, *ends]))
    assert fired == wanted


def test_the_search_and_the_triggers_find_all_kinds(runner: asyncio.Runner, engine: AsyncEngine) -> None:
    actions: list[Any] = [
        ("event", "x", "a", 0),
        ("outcome", "x", "quoted", 0),
        ("order", "x", "1", "2027-01-15", 0),
        ("look", None, False),
        ("pass", 61_000),
        ("look", 9, False),
    ]
    fired, wanted = runner.run(live(engine, actions))
    assert fired == wanted
    assert {name for name, *_ in fired} == CATALOGUE.triggers.keys()


@pytest.mark.parametrize(
    ("edition", "meanwhile", "expected_names"),
    [
        ("all", ("event", "x", "c", 0), {"basket", "first"}),
        ("some", ("event", "x", "c", 0), {"basket", "first"}),
        ("none", ("event", "x", "c", 0), {"basket", "first"}),
        ("some", ("event", "x", "a", 0), {"first"}),
        ("none", ("event", "x", "a", 0), {"first"}),
        ("none", ("event", "x", "b", 0), set()),
        ("longer", ("event", "x", "c", 0), set()),
    ],
)
def test_what_is_waited_for_outlasts_a_pause_unless_what_happens_meanwhile_prevents_it(
    runner: asyncio.Runner, engine: AsyncEngine, edition: str, meanwhile: Any, expected_names: set[str]
) -> None:
    actions: list[Any] = [
        ("event", "x", "a", 0),
        ("look", None, False),
        ("edit", edition),
        ("pass", 5_000),
        meanwhile,
        ("look", None, False),
        ("edit", "longer" if edition == "longer" else "all"),
        ("look", None, True),
        ("pass", 29_999),
    ]
    fired, wanted = runner.run(live(engine, actions))
    assert fired == wanted
    at_once = {"now", "rare", "cond", "quoted", "idle"}
    assert {name for name, *_ in fired} - at_once == expected_names


@pytest.mark.parametrize("edition", ["some", "none"])
@pytest.mark.parametrize("day", ["2027-01-14", "2027-01-16", None])
def test_a_date_that_is_corrected_while_its_trigger_rests_is_not_fired_for(
    runner: asyncio.Runner, engine: AsyncEngine, edition: str, day: str | None
) -> None:
    actions: list[Any] = [
        ("order", "x", "1", "2027-01-15", 7_000),
        ("order", "x", "2", "2027-01-15", 7_000),
        ("look", None, False),
        ("edit", edition),
        ("order", "x", "1", day, 0),
        ("look", None, False),
        ("edit", "all"),
        ("look", None, True),
        ("pass", 2 * DAY_MS),
    ]
    fired, wanted = runner.run(live(engine, actions))
    assert fired == wanted
    assert {occasion for name, _, occasion, _ in fired if name == "keyed-day"} == {"order 2"}


def test_a_wait_that_became_longer_ends_as_late_whenever_a_worker_looks(
    runner: asyncio.Runner, engine: AsyncEngine
) -> None:
    actions: list[Any] = [("event", "x", "a", 0), ("look", None, False), ("edit", "longer"), ("pass", 70_000)]
    fired, wanted = runner.run(live(engine, actions))
    assert fired == wanted
    longer_ms = 1000 * (BASKET_S + LONGER_S)
    assert {at_ms - T0_MS for name, _, _, at_ms in fired if name in ("basket", "first")} == {longer_ms}
