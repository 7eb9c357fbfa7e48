"""Reports on offers read days that are rolled up in spans of up to eight: the same sums, whatever changes meanwhile."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from decisioning.reporting.days import store_roll_up
from decisioning.reporting.days.store_roll_up import REBUILD_REPORT_DAYS, DaysOfReports
from storage import clock
from storage.errors import PostgresUnavailable
from storage.locks import ARCHIVER_LOCK
from storage.postgres import transaction
from tests.support.api import Nextbest
from tests.support.hours import COUNTED, insert_hours, random_hours, sums_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST = datetime(2019, 1, 28, tzinfo=UTC)
MONDAY = FIRST.date()
DAYS = 35
"""From Monday, 28 January, to 3 March."""
ROWS = random_hours(FIRST, 24 * DAYS, every_h=23)
SPANS = {"2019-01-28": 4, "2019-02-01": 8, "2019-02-09": 8, "2019-02-17": 8, "2019-02-25": 4, "2019-03-01": 3}
"""The days in each, by its first."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shop: Nextbest) -> Nextbest:
    await insert_hours(shop.api.state.engine, ROWS)
    return shop


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def rolled_up(filled: Nextbest) -> AsyncIterator[DaysOfReports]:
    days = DaysOfReports(filled.api.state.engine)
    await days.roll_up(now())
    yield days
    await change(filled, *REBUILD_REPORT_DAYS)


def now() -> datetime:
    return clock.to_datetime(clock.now_ms())


async def change(nextbest: Nextbest, *statements: str) -> None:
    async with nextbest.api.state.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def spans(nextbest: Nextbest) -> dict[str, int]:
    async with nextbest.api.state.engine.connect() as connection:
        found = await connection.execute(
            text("SELECT days[1]::text AS day, cardinality(days) AS held FROM report_spans")
        )
        return {row.day: row.held for row in found}


async def report(nextbest: Nextbest, by: str, query: str = "") -> dict[tuple[str, ...], dict[str, Any]]:
    answer = await nextbest.api.ok("GET", f"/v1/reports/offers?by={by}&until=2019-06-01{query}")
    return {tuple(row[name] for name in by.split(",")): row for row in answer["rows"]}


async def check(nextbest: Nextbest, by: str, zone: str = "UTC", since: date = MONDAY) -> None:
    """A report is what the rows by hour add up to."""
    of_time = [row for row in ROWS if row["hour"] >= datetime(since.year, since.month, since.day, tzinfo=UTC)]
    expected = sums_of(of_time, by.split(","), zone)
    found = await report(nextbest, by, f"&since={since}&time_zone={zone}")
    assert found.keys() == expected.keys()
    for place, row in found.items():
        sums = expected[place]
        counts = [row["decided"] + row["open"], *(row[name.removesuffix("_closed")] for name in COUNTED[1:])]
        assert counts == [sums[name] for name in COUNTED]
        assert row["value"] == pytest.approx(sums["value_closed"], rel=1e-12)


@pytest.mark.parametrize("by", ["offer", "month,offer", "week,offer", "day", "week", "placement,policy"])
async def test_spans_days_and_hours_add_up_to_what_is_stored(filled: Nextbest, by: str) -> None:
    assert await spans(filled) == SPANS
    for since in (MONDAY + timedelta(days=n) for n in (0, 3, 5, 11, 34)):
        await check(filled, by, since=since)
    await check(filled, by, "Europe/Madrid", MONDAY - timedelta(days=1))
    # A day of the middle of a span is read by hour.
    await change(filled, "DELETE FROM report_days WHERE day = '2019-02-12'")
    assert await spans(filled) == {day: n for day, n in SPANS.items() if day != "2019-02-09"}
    await check(filled, by)


@pytest.mark.parametrize(
    ("by", "zone", "read"),
    [
        ("offer", "UTC", {*SPANS}),
        ("offer", "Europe/Madrid", {*SPANS}),
        ("month", "UTC", {*SPANS}),
        # The last day of a month of UTC ends in the next month there.
        ("month", "Europe/Madrid", {"2019-02-01", "2019-02-09", "2019-02-17", "2019-03-01"}),
        ("week", "UTC", {"2019-01-28", "2019-02-25", "2019-03-01"}),
        ("week", "America/Bogota", {"2019-03-01"}),
        ("day", "UTC", set()),
    ],
)
async def test_a_span_is_read_if_it_lies_in_one_period(
    filled: Nextbest, by: str, zone: str, read: set[str]
) -> None:
    async def ignored() -> list[int]:
        return [row["ignored"] for row in (await report(filled, by, f"&time_zone={zone}")).values()]

    before, found = await ignored(), set()
    for day in SPANS:
        await change(filled, f"UPDATE acceptance_spans SET ignored = ignored + 1 WHERE day = '{day}'")
        if await ignored() != before:
            found.add(day)
        await change(filled, f"UPDATE acceptance_spans SET ignored = ignored - 1 WHERE day = '{day}'")
    assert found == read


async def test_a_span_begins_no_earlier_and_ends_no_later_than_the_report(filled: Nextbest) -> None:
    await change(filled, "UPDATE acceptance_spans SET ignored = ignored + 1000")
    exact = {"since": "2019-02-09", "until": "2019-02-17"}
    for bounds in (exact, exact | {"since": "2019-02-10"}, exact | {"until": "2019-02-16"}):
        path = f"/v1/reports/offers?by=policy&since={bounds['since']}&until={bounds['until']}"
        (row, _) = (await filled.api.ok("GET", path))["rows"]
        assert (row["ignored"] > 1000) is (bounds == exact)


async def test_a_span_grows_as_its_days_are_rolled_up(filled: Nextbest, rolled_up: DaysOfReports) -> None:
    gone = "hour >= '2019-02-09' AND hour < '2019-02-12' OR hour >= '2019-02-14' AND hour < '2019-02-17'"
    await change(
        filled,
        f"CREATE TABLE kept AS SELECT * FROM acceptance WHERE {gone}",
        f"DELETE FROM acceptance WHERE {gone}",
    )
    await rolled_up.roll_up(now())
    found = await spans(filled)
    assert found == {**{day: n for day, n in SPANS.items() if day != "2019-02-09"}, "2019-02-12": 2}
    await change(filled, "INSERT INTO acceptance SELECT * FROM kept", "DROP TABLE kept")
    # Those days had no mark that an insertion takes away: they are read by hour, beside the span.
    await check(filled, "month,offer")
    assert (await spans(filled))["2019-02-12"] == 2
    await rolled_up.roll_up(now())
    assert await spans(filled) == SPANS
    await check(filled, "month,offer")


MADE_SLOWLY = """
INSERT INTO report_spans SELECT cast(:first AS date), cast(:days AS date[]) FROM (SELECT pg_sleep(0.5)) AS s
"""


async def test_whoever_takes_a_mark_away_waits_until_its_span_is_made(
    filled: Nextbest, rolled_up: DaysOfReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(filled, "DELETE FROM report_spans WHERE span = '2019-02-09'")
    monkeypatch.setattr(store_roll_up, "_MARK_SPAN", text(MADE_SLOWLY))
    making = asyncio.create_task(rolled_up.roll_up(now()))
    await asyncio.sleep(0.2)
    late = "UPDATE acceptance SET clicked_closed = clicked_closed {} 1 WHERE hour >= '2019-02-11'"
    await change(filled, late.format("+"), late.format("-"))
    await making
    assert await spans(filled) == {"2019-01-28": 4, "2019-02-01": 8}
    await check(filled, "month,offer")


async def test_a_day_that_changes_just_now_is_left_out_and_not_waited_for(
    filled: Nextbest, rolled_up: DaysOfReports
) -> None:
    await change(filled, "DELETE FROM report_spans")
    async with filled.api.state.engine.connect() as archiver:  # rolled back at its end
        await archiver.execute(text("DELETE FROM report_days WHERE day = '2019-02-12' OR day > '2019-03-01'"))
        async with asyncio.timeout(10):
            await rolled_up.roll_up(now())
        assert await spans(filled) == {day: n for day, n in SPANS.items() if n > 3} | {"2019-02-09": 7}
        await check(filled, "week,offer")
    await rolled_up.roll_up(now())
    assert await spans(filled) == SPANS


async def test_of_two_workers_that_make_a_span_at_once_one_does(
    filled: Nextbest, rolled_up: DaysOfReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    await change(filled, "DELETE FROM report_spans WHERE span = '2019-02-09'", "DELETE FROM acceptance_spans")
    monkeypatch.setattr(store_roll_up, "_MARK_SPAN", text(MADE_SLOWLY))
    async with filled.api.state.engine.connect() as archiver:  # rolled back at its end
        await archiver.execute(text("DELETE FROM report_days WHERE day = '2019-02-09'"))
        first = asyncio.create_task(rolled_up._roll_up_span(date(2019, 2, 9)))
        await asyncio.sleep(0.2)
    second = asyncio.create_task(rolled_up._roll_up_span(date(2019, 2, 9)))
    with pytest.raises(PostgresUnavailable, match="UniqueViolation"):
        await asyncio.gather(first, second)
    await asyncio.wait([first, second])
    monkeypatch.undo()
    await change(filled, "DELETE FROM report_spans WHERE span <> '2019-02-09'")
    await check(filled, "offer")
    await rolled_up.roll_up(now())
    assert await spans(filled) == SPANS


async def test_spans_are_those_of_their_days_whoever_changes_days_beside(
    filled: Nextbest, rolled_up: DaysOfReports
) -> None:
    engine, over = filled.api.state.engine, asyncio.Event()

    async def archive(seed: int) -> int:
        numbers, done = random.Random(seed), 0
        while not over.is_set():
            async with transaction(engine) as connection:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ARCHIVER_LOCK})
                for _ in range(3):  # in any order
                    day = FIRST + timedelta(days=numbers.randrange(DAYS))
                    await connection.execute(
                        text(
                            "UPDATE acceptance SET clicked_closed = clicked_closed + 1"
                            " WHERE hour >= :start AND hour < :stop"
                        ),
                        {"start": day, "stop": day + timedelta(days=2)},
                    )
            done += 1
            await asyncio.sleep(0)
        return done

    kept = "CREATE TABLE kept AS SELECT * FROM acceptance"
    await change(filled, kept)
    try:
        archivers = [asyncio.create_task(archive(seed)) for seed in range(2)]
        made = 0
        for _ in range(8):
            await rolled_up.roll_up(now())
            made += len(await spans(filled))
            await check_spans(filled)
        over.set()
        assert min(await asyncio.gather(*archivers)) > 2  # none of them was ended by a deadlock
        assert made > 0
        await rolled_up.roll_up(now())
        assert await spans(filled) == SPANS
        await check_spans(filled)
    finally:
        over.set()
        await change(
            filled, "DELETE FROM acceptance", "INSERT INTO acceptance SELECT * FROM kept", "DROP TABLE kept"
        )


async def check_spans(nextbest: Nextbest) -> None:
    """Each span that has a mark has the sums of the hours of its days."""
    wrong = """
    SELECT s.span FROM report_spans AS s WHERE
        (SELECT sum(clicked_closed) FROM acceptance_spans AS a WHERE a.day = s.days[1])
        IS DISTINCT FROM
        (SELECT sum(clicked_closed) FROM acceptance AS a WHERE cast(a.hour AT TIME ZONE 'UTC' AS date) = ANY(s.days))
    """
    async with nextbest.api.state.engine.connect() as connection:
        assert (await connection.scalars(text(wrong))).all() == []


async def test_a_rebuild_makes_spans_anew(filled: Nextbest, rolled_up: DaysOfReports) -> None:
    await change(filled, "UPDATE acceptance_spans SET ignored = ignored + 1", *REBUILD_REPORT_DAYS)
    assert await spans(filled) == {}
    async with filled.api.state.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM acceptance_spans")) == 0
    await check(filled, "month,offer")
    await rolled_up.roll_up(now())
    assert await spans(filled) == SPANS
    await check(filled, "month,offer")
