"""Reports on offers and on calibration are the same from days that are rolled up as from hours and from the log."""

import asyncio
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from bandits.intervals import Z95
from decisioning.log.store_sql import REBUILD_ACCEPTANCE
from decisioning.reporting import store_calibration, store_offer_report
from decisioning.reporting.days import store_roll_up
from decisioning.reporting.days.store_report_days import find_report_days
from decisioning.reporting.days.store_roll_up import REBUILD_REPORT_DAYS, DaysOfReports
from decisioning.reporting.store_bounds import TIMEOUT_S
from storage import clock
from storage.errors import PostgresUnavailable
from storage.locks import ARCHIVER_LOCK
from tests.support.api import CSV, Nextbest, decide, problem_of, tell
from tests.support.hours import COUNTED, insert_hours, random_hours, sums_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEEK_S = 7 * 86_400
HISTORY = """customer_id,offer_id,decided_at,outcome,value,placement
r1,gold,2020-01-05T22:30:00Z,accepted,5,branch
r2,gold,2020-01-05T23:30:00Z,rejected,,branch
r3,silver,2020-01-31T22:59:59Z,expired,,branch
r4,silver,2020-01-31T23:00:00Z,expired,,branch
"""
OFFERS, CALIBRATION = "/v1/reports/offers", "/v1/reports/calibration"
QUERIES = (
    f"{OFFERS}?by=offer",
    f"{OFFERS}?by=month,offer",
    f"{OFFERS}?by=day,placement,policy,control_group",
    f"{OFFERS}?by=week,channel&time_zone=Europe/Madrid",
    f"{OFFERS}?by=month&time_zone=Europe/Madrid",
    f"{OFFERS}?by=day&time_zone=Europe/Madrid&offer=gold",
    f"{OFFERS}?by=group,goal&placement=quick",
    f"{OFFERS}?by=day&since=2020-01-31&until=2020-02-01&time_zone=Europe/Madrid",
    f"{OFFERS}?by=offer&time_zone=Asia/Kolkata&since=2020-01-01",
    f"{CALIBRATION}?bins=4",
    f"{CALIBRATION}?by=day,policy,placement&bins=1",
    f"{CALIBRATION}?by=month,offer&time_zone=Europe/Madrid",
    f"{CALIBRATION}?by=channel&offer=gold",
    f"{CALIBRATION}?by=offer&policy=calibrated&channel=web&placement=quick",
    f"{CALIBRATION}?by=offer&time_zone=Asia/Kolkata&since=2020-01-01",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shop: Nextbest) -> Nextbest:
    """An installation with history and with decisions of today, all of them closed."""
    await shop.api.ok("POST", "/v1/imports/history", content=HISTORY, headers=CSV)
    rows = [f"c-{n},{o},{(n % 7 + 1) / 20}" for n in range(24) for o in ("gold", "silver")]
    content = "\n".join(["customer_id,offer_id,propensity", *rows]).encode()
    await shop.api.ok("POST", "/v1/imports/propensities", content=content, headers=CSV)
    body = {"channel": "web", "slots": 1, "control_share": 0.5, "reward_window_s": 3600, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/quick", json=body)
    for number in range(24):
        answer = await decide(shop.api, f"c-{number}", "quick")
        for outcome in ("presented", "clicked", "accepted")[: number % 4]:
            value = {"value": 2.5} if outcome == "accepted" else {}
            await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], outcome, **value)
    await shop.worker.drain()
    await shop.worker.expire(ahead_s=WEEK_S)
    await shop.worker.drain()
    return shop


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def afresh(filled: Nextbest) -> None:
    """Nothing is rolled up."""
    await change(filled, *REBUILD_REPORT_DAYS)


def later() -> datetime:
    """The day after tomorrow, when today can be rolled up."""
    return clock.to_datetime(clock.now_ms()) + timedelta(days=2)


async def change(nextbest: Nextbest, *statements: str) -> None:
    async with nextbest.api.state.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def marks(nextbest: Nextbest) -> set[str]:
    async with nextbest.api.state.engine.connect() as connection:
        return {*await connection.scalars(text("SELECT day::text FROM report_days WHERE done"))}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """What is at which place: sums of floats may differ in their last digit by the order in which they are made."""
    if isinstance(value, dict):
        return {k: v for name, part in value.items() for k, v in flat(part, f"{path}.{name}").items()}
    if isinstance(value, list):
        return {k: v for n, part in enumerate(value) for k, v in flat(part, f"{path}.{n}").items()} | {
            path: len(value)
        }
    return {path: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value}


async def answers(nextbest: Nextbest) -> dict[str, dict[str, Any]]:
    return {query: flat(await nextbest.api.ok("GET", query)) for query in QUERIES}


async def test_answers_are_the_same_and_read_what_is_rolled_up(filled: Nextbest) -> None:
    before = await answers(filled)
    assert all(len(found) > 8 for found in before.values())
    days = DaysOfReports(filled.api.state.engine)
    assert await days.roll_up(later()) == len(await marks(filled)) == 3
    assert await days.roll_up(later()) == 0  # nothing is left
    assert await answers(filled) == before
    await change(
        filled, "UPDATE acceptance_days SET ignored = ignored + 1", "UPDATE calibration_days SET accepted = 0"
    )
    changed = await answers(filled)
    # By day of another zone everything is read by hour, and of a zone with half hours from the log.
    assert {query for query in QUERIES if changed[query] == before[query]} == {QUERIES[n] for n in (5, 7, 8)}
    await change(filled, *REBUILD_REPORT_DAYS)
    assert await answers(filled) == before


async def test_days_and_hours_add_up_to_what_is_stored(filled: Nextbest) -> None:
    rows = random_hours(datetime(2019, 1, 30, tzinfo=UTC), 60)
    await insert_hours(filled.api.state.engine, rows)
    try:
        await DaysOfReports(filled.api.state.engine).roll_up(later())
        await change(filled, "DELETE FROM report_days WHERE day = '2019-01-31'")  # it is read by hour
        for by in ("month,offer", "day,placement,policy", "week,control_group", "offer,placement"):
            path = f"{OFFERS}?by={by}&since=2019-01-01&until=2019-03-01"
            found = (await filled.api.ok("GET", path))["rows"]
            places = [tuple(row[name] for name in by.split(",")) for row in found]
            expected = sums_of(rows, by.split(","))
            assert places == sorted(expected)
            for row, sums in zip(found, map(expected.__getitem__, places), strict=True):
                counts = [
                    row["decided"] + row["open"],
                    *(row[n.removesuffix("_closed")] for n in COUNTED[1:]),
                ]
                assert counts == [sums[name] for name in COUNTED]
                assert row["value"] == pytest.approx(sums["value_closed"], rel=1e-12)
                mean, observed = row["value_mean"], row["observed"]
                variance = max(sums["value_squares_closed"] - observed * mean**2, 0.0) / (observed - 1)
                assert row["value_high"] == pytest.approx(
                    mean + Z95 * math.sqrt(variance / observed), rel=1e-9
                )
    finally:
        await change(filled, "DELETE FROM acceptance WHERE hour < '2019-06-01'", *REBUILD_REPORT_DAYS)


async def test_a_report_sums_in_one_order_what_one_transaction_sees(filled: Nextbest) -> None:
    settings = (
        "SELECT current_setting('transaction_isolation'), current_setting('max_parallel_workers_per_gather')"
    )
    async with store_offer_report.bounded_report(filled.api.state.engine, in_order=True) as connection:
        assert (await connection.execute(text(settings))).one() == ("repeatable read", "0")
        timeout = await connection.scalar(text("SELECT current_setting('statement_timeout')"))
        assert timeout == f"{TIMEOUT_S}s"


async def test_today_and_open_days_are_not_rolled_up(filled: Nextbest) -> None:
    days = DaysOfReports(filled.api.state.engine)
    assert await days.roll_up(clock.to_datetime(clock.now_ms())) == 2
    assert await marks(filled) == {"2020-01-05", "2020-01-31"}
    answer = await decide(filled.api, "c-open", "quick")
    await filled.worker.drain()
    assert await days.roll_up(later()) == 0
    await tell(filled.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted", value=4.5)
    await filled.worker.drain()
    assert await days.roll_up(later()) == 0
    await filled.worker.expire(ahead_s=WEEK_S)
    await filled.worker.drain()
    assert await days.roll_up(later()) == 1
    # After a year nothing is waited for, as where closings were lost.
    lost = "UPDATE acceptance SET decided = decided {} 1 WHERE placement = 'quick'"
    await change(filled, lost.format("+"))
    assert await days.roll_up(later()) == 0
    assert await days.roll_up(later() + timedelta(days=370)) == 1
    await change(filled, lost.format("-"))


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("UPDATE acceptance SET late = late + 1, accepted = accepted + 1 WHERE hour < '2020-01-06'", True),
        ("UPDATE acceptance SET accepted_closed = accepted_closed + 1 WHERE hour < '2020-01-06'", False),
        # Two decisions moved in opposite ways: the sums are as they were, and the predictions are not.
        ("UPDATE acceptance SET accepted_closed = accepted_closed + 1 - 1 WHERE hour < '2020-01-06'", False),
        ("UPDATE acceptance SET hour = hour + interval '60 days' WHERE hour < '2020-01-06'", False),
        ("DELETE FROM acceptance WHERE hour < '2020-01-06'", False),
        ("TRUNCATE acceptance", False),
        (
            "INSERT INTO acceptance (hour, placement, policy, offer_id, grp)"
            " VALUES ('2020-01-05', 'a', 'b@1', 'c', 'd')",
            False,
        ),
    ],
)
async def test_whatever_changes_hours_takes_the_mark_away(
    filled: Nextbest, statement: str, left: bool
) -> None:
    await DaysOfReports(filled.api.state.engine).roll_up(later())
    async with filled.api.state.engine.connect() as connection:  # rolled back at its end
        await connection.execute(text(statement))
        found = {*await connection.scalars(text("SELECT day::text FROM report_days WHERE done"))}
    assert ("2020-01-05" in found) is left
    if "TRUNCATE" not in statement:
        assert "2020-01-31" in found


async def test_what_comes_late_of_a_day_is_counted(filled: Nextbest) -> None:
    days = DaysOfReports(filled.api.state.engine)
    await days.roll_up(later())
    more = HISTORY.splitlines()[0] + "\nr9,gold,2020-01-05T10:30:00Z,accepted,7,branch\n"
    await filled.api.ok("POST", "/v1/imports/history", content=more, headers=CSV)
    await filled.worker.drain()
    assert "2020-01-05" not in await marks(filled)
    query = f"{OFFERS}?by=day&until=2020-01-06"
    (row,) = (await filled.api.ok("GET", query))["rows"]
    assert (row["decided"], row["value"]) == (3, 12.0)
    assert await days.roll_up(later()) == 1
    assert (await filled.api.ok("GET", query))["rows"] == [row]


async def test_a_day_that_changes_while_it_is_rolled_up_is_not_taken(
    filled: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "UPDATE acceptance SET clicked_closed = clicked_closed {} 1"
    meanwhile = text(f"{more.format('+')} WHERE hour >= :start AND hour < :stop")
    monkeypatch.setattr(store_roll_up, "_FILL", (*store_roll_up._FILL, meanwhile))
    assert await DaysOfReports(filled.api.state.engine).roll_up(later()) == 0
    async with filled.api.state.engine.connect() as connection:
        for table in ("report_days", "acceptance_days", "calibration_days"):
            assert await connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
    await change(filled, more.format("-"))


async def test_an_archiver_that_is_at_it_is_waited_for(filled: Nextbest) -> None:
    engine = filled.api.state.engine
    async with engine.begin() as archiver:
        await archiver.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ARCHIVER_LOCK})
        await archiver.execute(text("UPDATE acceptance SET value_closed = value_closed + 1"))
        roll_up = asyncio.create_task(DaysOfReports(engine).roll_up(later()))
        await asyncio.sleep(0.3)
        assert not roll_up.done()
    assert await roll_up == 3
    async with engine.connect() as connection:
        sums = "SELECT (SELECT sum(value_closed) FROM acceptance) - (SELECT sum(value_closed) FROM acceptance_days)"
        assert await connection.scalar(text(sums)) == 0
    await change(filled, "UPDATE acceptance SET value_closed = value_closed - 1")


async def test_archivers_do_not_wait_while_a_day_waits_for_a_rebuild(filled: Nextbest) -> None:
    engine = filled.api.state.engine
    locked = text("SELECT pg_advisory_xact_lock(:lock)")
    async with engine.begin() as rebuild:
        await rebuild.execute(text("LOCK TABLE acceptance IN ACCESS EXCLUSIVE MODE"))
        # What is due is read before: a rebuild has the table from when a day is begun.
        roll_up = asyncio.create_task(DaysOfReports(engine)._roll_up_day(date(2020, 1, 5), later().date()))
        await asyncio.sleep(0.3)
        async with asyncio.timeout(3), engine.begin() as archiver:
            await archiver.execute(locked, {"lock": ARCHIVER_LOCK})
        with pytest.raises(PostgresUnavailable, match="lock timeout"):
            await roll_up
    assert await DaysOfReports(engine).roll_up(later()) == 3


async def test_a_rebuild_makes_hours_and_days_anew(filled: Nextbest) -> None:
    engine, before = filled.api.state.engine, await answers(filled)
    assert await DaysOfReports(engine).roll_up(later()) == 3
    await change(filled, "UPDATE acceptance_days SET ignored = ignored + 1")
    await change(filled, *REBUILD_ACCEPTANCE, *REBUILD_REPORT_DAYS)
    assert await marks(filled) == set()
    assert await answers(filled) == before
    assert await DaysOfReports(engine).roll_up(later()) == 3
    assert await answers(filled) == before


async def test_a_report_sees_one_state_of_marks_and_days(
    filled: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await answers(filled)
    await DaysOfReports(filled.api.state.engine).roll_up(later())

    async def find_and_begin_anew(*args: Any) -> Any:
        found = await find_report_days(*args)
        await change(filled, "DELETE FROM acceptance_days", "DELETE FROM calibration_days")
        return found

    for module in (store_offer_report, store_calibration):
        monkeypatch.setattr(module, "find_report_days", find_and_begin_anew)
        await change(filled, *REBUILD_REPORT_DAYS)
        await DaysOfReports(filled.api.state.engine).roll_up(later())
        path = OFFERS if module is store_offer_report else CALIBRATION
        query = f"{path}?by=month,offer" if path == OFFERS else f"{path}?bins=4"
        assert flat(await filled.api.ok("GET", query)) == before[query]


async def test_a_day_that_cannot_be_rolled_up_keeps_no_other_one_back(
    filled: Nextbest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = text("SELECT 1 / (cast(:day AS date) - date '2020-01-31')")
    monkeypatch.setattr(store_roll_up, "_FILL", (broken, *store_roll_up._FILL))
    assert await DaysOfReports(filled.api.state.engine).roll_up(later()) == 2
    assert "the day 2020-01-31 is not rolled up" in caplog.text
    assert "2020-01-31" not in await marks(filled)


async def test_more_predictions_than_a_report_can_hold_are_refused(
    filled: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await DaysOfReports(filled.api.state.engine).roll_up(later())
    monkeypatch.setattr(store_calibration, "MAX_PREDICTIONS", 5)
    detail = problem_of(await filled.api.call("GET", CALIBRATION), 422, "since")["detail"]
    assert "more than 5: name less time" in detail
    assert (await filled.api.ok("GET", f"{CALIBRATION}?until=2020-01-06"))["total"]["observed"] == 0
