"""Events a day, by type: the rows of a plain count of the table, whatever becomes of it."""

import asyncio
import random
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from sqlalchemy import text

from app.config import parse_retention
from app.worker.privacy.retention import RetentionJob
from decisioning.catalog.store import CatalogueStore
from decisioning.log.store_archiver import Archiver
from decisioning.log.store_partitions import add_months, month_of
from decisioning.log.store_stream import Batch
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.position import StreamPosition
from decisioning.privacy.store_retention import Retention
from decisioning.reporting import store_event_report
from decisioning.reporting.offer_report import ReportScope
from decisioning.reporting.store_event_report import REBUILD_EVENT_COUNTS, count_events
from profiles.events.event import Event
from storage import clock
from tests.support.api import Nextbest, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime.now(UTC)
PLAIN = text("""
SELECT cast(occurred_at AT TIME ZONE cast(:zone AS text) AS date) AS day, type, count(*) AS events FROM events
WHERE occurred_at >= coalesce(cast(:since AS timestamptz), '-infinity')
    AND occurred_at < coalesce(cast(:until AS timestamptz), 'infinity')
    AND (cast(:type AS text) IS NULL OR type = :type)
GROUP BY 1, 2 ORDER BY 1, 2
""")
MISCOUNTED = text("""
SELECT * FROM event_counts AS c FULL JOIN (
    SELECT to_timestamp(floor(extract(epoch FROM occurred_at) / 900) * 900) AS slot, type, count(*) AS really
    FROM events GROUP BY 1, 2
) AS e USING (slot, type) WHERE c.events IS DISTINCT FROM e.really
""")
INSERT = """
INSERT INTO events SELECT :customer_id || n, :customer_id, type, at, 1, '{}', '{}', 0, '1-1'
FROM unnest(cast(:times AS timestamptz[]), cast(:types AS text[])) WITH ORDINALITY AS e (at, type, n)
"""
ZONES = (
    "UTC",
    "Europe/Madrid",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Apia",  # had no 30 December 2011
    "America/St_Johns",  # clocks went back at one minute past midnight
    "Africa/Monrovia",  # 44 minutes and 30 seconds behind UTC until 1972
)
CHANGES = [
    datetime(1990, 10, 28, 2, 31, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
    datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC),
    datetime(2025, 10, 4, 15, 30, tzinfo=UTC),
]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="module")
async def emptied(shop: Nextbest) -> Nextbest:
    """The installation without events."""
    async with shop.api.state.engine.begin() as connection:
        await connection.execute(text("DELETE FROM events"))
        assert await connection.scalar(text("SELECT count(*) FROM event_counts")) == 0
    return shop


async def store(nextbest: Nextbest, customer_id: str, *happened: tuple[datetime, str]) -> None:
    """Insert events, as a process of any version does."""
    times, types = zip(*happened, strict=True)
    values = {"customer_id": customer_id, "times": list(times), "types": list(types)}
    async with nextbest.api.state.engine.begin() as connection:
        await connection.execute(text(INSERT), values)


async def rebuild(nextbest: Nextbest) -> None:
    async with nextbest.api.state.engine.begin() as connection:
        for statement in REBUILD_EVENT_COUNTS:
            await connection.execute(text(statement))


async def assert_counted(nextbest: Nextbest, events: int) -> None:
    """Compare the counts with the events, of which there are so many."""
    async with nextbest.api.state.engine.connect() as connection:
        assert (await connection.execute(MISCOUNTED)).all() == []
        assert await connection.scalar(text("SELECT coalesce(sum(events), 0) FROM event_counts")) == events


def near_borders(rng: random.Random) -> datetime:
    """A time near to a midnight of some zone, to the end of a quarter, or to a change of clocks."""
    kind = rng.randrange(3)
    if kind == 0:
        day = rng.choice((EPOCH, *CHANGES)).date() + timedelta(days=rng.randrange(400))
        at = datetime.combine(day, time(), ZoneInfo(rng.choice(ZONES))).astimezone(UTC)
    elif kind == 1:
        at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=15 * rng.randrange(3000))
    else:
        at = rng.choice(CHANGES) + timedelta(minutes=rng.randrange(-60, 61))
    return at + timedelta(seconds=rng.choice((-30, -1, 0, 0, 1, 30)), microseconds=rng.choice((-1, 0, 0, 1)))


async def test_events_are_counted_by_their_day_in_the_zone(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = shop.api
    for type_ in ("call", "visit"):
        await api.ok("PUT", f"/v1/event-types/{type_}", json={"name": type_})
    midnight = clock.to_datetime(clock.now_ms()).replace(hour=0, minute=0, second=0, microsecond=0)
    times = {"call": [-25, -1, -1, -26], "visit": [-1]}
    for type_, hours in times.items():
        for number, hour in enumerate(hours):
            at = (midnight + timedelta(hours=hour)).isoformat()
            event = {
                "event_id": f"{type_}{number}",
                "customer_id": f"c{number}",
                "type": type_,
                "occurred_at": at,
            }
            await api.ok("POST", "/v1/events", json=event)
    await shop.worker.drain()
    before, yesterday = (str((midnight - timedelta(days=days)).date()) for days in (2, 1))
    rows = [(before, "call", 2), (yesterday, "call", 2), (yesterday, "visit", 1)]

    async def counted(query: str = "") -> list[tuple[str, str, int]]:
        found = await api.ok("GET", f"/v1/reports/events{query}", role="scientist")
        return [(row["day"], row["type"], row["events"]) for row in found["rows"]]

    assert await counted() == rows
    assert await counted("?type=visit") == rows[2:]
    assert await counted(f"?since={yesterday}") == rows[1:]
    assert await counted(f"?until={yesterday}") == rows[:1]
    long_ago = await api.ok("GET", "/v1/reports/events?until=2020-03-29&time_zone=Europe/Madrid")
    assert (long_ago["since"], long_ago["rows"]) == ("2020-03-01", [])
    # In Kiribati it is tomorrow, by 14 hours: all that happened late on a day belongs to the next.
    later = [str((midnight - timedelta(days=days)).date()) for days in (1, 0)]
    moved = [(later[0], "call", 2), (later[1], "call", 2), (later[1], "visit", 1)]
    assert await counted("?time_zone=Pacific/Kiritimati") == moved
    problem_of(await api.call("GET", "/v1/reports/events?since=2026-01-02&until=2026-01-01"), 422, "until")
    monkeypatch.setattr(store_event_report, "TIMEOUT_S", 0.001)
    monkeypatch.setattr(
        store_event_report,
        "_COUNTS",
        text("SELECT pg_sleep(1), cast(:zone AS text), cast(:since AS timestamptz), :until, :type"),
    )
    problem_of(await api.call("GET", "/v1/reports/events"), 422, "since")


async def test_reports_are_a_plain_count_in_all_zones_and_between_any_two_times(emptied: Nextbest) -> None:
    rng = random.Random(8)
    types = ("call", "visit", "zoo")
    happened = [(max(near_borders(rng), EPOCH), rng.choice(types)) for _ in range(4000)]
    await store(emptied, "near", *happened)
    await assert_counted(emptied, 4000)
    engine = emptied.api.state.engine
    scopes = [ReportScope(zone) for zone in ZONES]
    for _ in range(150):
        first, last = sorted(near_borders(rng) for _ in range(2))
        zone = rng.choice(ZONES)
        scopes += [
            ReportScope(zone, rng.choice((None, first, first, first)), rng.choice((None, last, last, last))),
            ReportScope.of_days(zone, first.date(), last.date() + timedelta(days=1)),
            ReportScope(zone, first, first + timedelta(minutes=rng.randrange(40))),
        ]
    for scope in scopes:
        type_ = rng.choice((None, None, *types, "none"))
        values = {"zone": scope.zone, "since": scope.since, "until": scope.until, "type": type_}
        async with engine.connect() as connection:
            plain = [dict(row._mapping) for row in await connection.execute(PLAIN, values)]
        assert await count_events(engine, scope, type_) == plain, (scope, type_)


async def test_whole_quarters_are_read_from_the_counts_and_others_from_the_events(emptied: Nextbest) -> None:
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    await store(emptied, "c", *[(noon + timedelta(minutes=n), "call") for n in range(60)])
    engine = emptied.api.state.engine
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE event_counts SET events = 1000"))

    async def counted(since: datetime, until: datetime) -> int:
        (row,) = await count_events(engine, ReportScope("UTC", since, until), "call")
        return int(row["events"])

    hour = noon + timedelta(hours=1)
    assert await counted(noon, hour) == 4000
    assert await counted(noon + timedelta(minutes=5), hour) == 3010
    assert await counted(noon, hour - timedelta(minutes=5)) == 3010
    assert await counted(noon + timedelta(minutes=5), noon + timedelta(minutes=8)) == 3
    await rebuild(emptied)
    await assert_counted(emptied, 60)


async def test_a_batch_that_is_repeated_counts_once(emptied: Nextbest) -> None:
    at_ms = clock.to_ms(month_of(NOW))
    events = [
        LoggedEvent(
            1,
            StreamPosition(f"{n}-0"),
            Event(f"e{n}", "c", "call" if n % 3 else "visit", at_ms + n * 60_000, {}),
            at_ms,
        )
        for n in range(100)
    ]
    archivers = [Archiver(str(emptied.settings.postgres_url)) for _ in range(2)]

    async def write(archiver: Archiver, part: list[LoggedEvent]) -> None:
        written = False
        while not written:
            async with archiver.turn() as positions:
                if written := positions is not None:
                    await archiver.write(Batch({}, [], [], part))

    try:
        await archivers[0].make_partitions(NOW)
        await write(archivers[0], events[:50])
        await asyncio.gather(*(write(archivers[n % 2], events) for n in range(2)))
    finally:
        for archiver in archivers:
            await archiver.close()
    await assert_counted(emptied, 100)


async def test_who_counts_the_same_slots_at_the_same_time_is_not_locked_out(emptied: Nextbest) -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    happened = [(start + timedelta(minutes=15 * n), type_) for n in range(200) for type_ in ("call", "visit")]
    rng = random.Random(4)
    # Of different sizes: hash tables, in whose order an unordered statement would count, are so as well.
    orders = [rng.choices(happened, k=rng.choice((300, 1000, 3000))) for _ in range(12)]
    await asyncio.gather(*(store(emptied, f"c{n}-", *order) for n, order in enumerate(orders)))
    await assert_counted(emptied, sum(map(len, orders)))

    async def delete(customer_id: str) -> None:
        async with emptied.api.state.engine.begin() as connection:
            values = {"customer_id": customer_id}
            await connection.execute(text("DELETE FROM events WHERE customer_id = :customer_id"), values)

    await asyncio.gather(
        *(delete(f"c{n}-") for n in range(11)),
        *(rebuild(emptied) for _ in range(3)),
        *(store(emptied, f"d{n}-", *orders[n]) for n in range(2)),
    )
    await assert_counted(emptied, sum(map(len, (orders[11], *orders[:2]))))


async def test_counts_follow_erasures_and_changes(emptied: Nextbest) -> None:
    api = emptied.api
    at = NOW - timedelta(days=2)
    await store(emptied, "ann", (at, "call"), (at, "visit"), (at - timedelta(hours=3), "call"))
    await store(emptied, "bob", (at, "call"))
    await api.ok("POST", "/v1/customers/ann/erase", json={}, role="ops")
    await assert_counted(emptied, 1)
    # From the partition of one month, or of none, to that of another.
    for moved in ("interval '40 days'", "interval '60 years'", "interval '-60 years'"):
        async with api.state.engine.begin() as connection:
            await connection.execute(text(f"UPDATE events SET occurred_at = occurred_at - {moved}"))
        await assert_counted(emptied, 1)
    async with api.state.engine.begin() as connection:
        await connection.execute(text("DELETE FROM events"))
        assert await connection.scalar(text("SELECT count(*) FROM event_counts")) == 0


async def test_counts_go_with_the_events_that_are_too_old(emptied: Nextbest) -> None:
    api, engine = emptied.api, emptied.api.state.engine
    await api.ok("PUT", "/v1/event-types/short", json={"name": "Short", "retention_days": 9})
    old = add_months(month_of(NOW), -5)
    batch = Batch(
        {},
        [],
        [],
        [LoggedEvent(0, StreamPosition("1-0"), Event("e", "c", "call", clock.to_ms(old), {}), 1)],
    )
    archiver = Archiver(str(emptied.settings.postgres_url))
    try:
        await archiver.make_partitions(NOW, batch)
        async with archiver.turn():
            await archiver.write(batch)
    finally:
        await archiver.close()
    kept = (NOW - timedelta(days=2), "short")
    times = (old, add_months(old, 1) - timedelta(microseconds=1), datetime(2005, 1, 1, 12, tzinfo=UTC))
    await store(emptied, "d", *((at, "call") for at in times), (NOW - timedelta(days=12), "short"), kept)
    await assert_counted(emptied, 6)

    async def enforce(retention: str) -> None:
        job = RetentionJob(Retention(engine, parse_retention(retention)), CatalogueStore(engine))
        assert await job.enforce() > 0

    await enforce("")
    await assert_counted(emptied, 5)
    await enforce("events:60")
    await assert_counted(emptied, 1)
    found: dict[str, Any] = await api.ok("GET", "/v1/reports/events?since=2005-01-01", role="scientist")
    assert [(row["day"], row["type"], row["events"]) for row in found["rows"]] == [
        (str(kept[0].date()), "short", 1)
    ]
