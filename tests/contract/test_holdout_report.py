"""The report on a hold-out, against the same figures computed in another way from what was told."""

import asyncio
import csv
import io
from collections import defaultdict
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from scipy import stats
from sqlalchemy import text

from app.api.reports.tables import PARQUET
from decisioning.decide.policy_runner import assign_holdouts
from decisioning.holdouts.holdout import Holdout
from decisioning.privacy import store_erasing
from decisioning.reporting import store_asked_days, store_holdout_report
from decisioning.reporting.holdout_service import HoldoutReports
from decisioning.reporting.store_asked_days import REBUILD_ASKED_DAYS, AskedDays, find_rolled_up
from decisioning.reporting.store_holdout_report import holdout_sides
from storage import clock
from tests.support.api import Nextbest, decide, problem_of, put_offer, tell
from tests.support.waiting import eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = Holdout("all", 0.3)
GROWTH = Holdout("growth", 0.4, goal="grow")
CUSTOMERS = [f"customer-{n}" for n in range(60)]
EVENTS = [{"event": "order", "property": "amount"}, {"event": "churn"}]
MEASURES = ["acceptances", "value", "order:amount", "churn"]
WEEK_S = 7 * 86_400
MOVED = {"decisions": "decided_at", "outcomes": "decided_at", "events": "occurred_at", "acceptance": "hour"}
ONE = "/v1/reports/holdout/all"


def is_in(customer: str, holdout: Holdout) -> bool:
    """Whether a customer is in a hold-out."""
    return bool(assign_holdouts(customer, [holdout], 0))


class Told:
    """What each customer did, by measure."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def values(self, customers: list[str], measure: str) -> list[float]:
        """The figure of each customer."""
        return [self.of[customer][measure] for customer in customers]


async def happen(api: Any, customer: str, event_id: str, type_: str, **properties: Any) -> None:
    """Send an event."""
    body = {"event_id": event_id, "customer_id": customer, "type": type_, "properties": properties}
    await api.ok("POST", "/v1/events", json=body, role="frontend")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(shop: Nextbest) -> Told:
    """Customers who ask, accept, order and leave; the window of the last decision is still open."""
    api, told = shop.api, Told()
    await api.ok("PUT", "/v1/groups/loans", json={"name": "Loans", "goal": "retain"})
    await put_offer(api, "loan", value=20, group="loans")
    for type_, schema in (("order", {"properties": {"amount": {"type": "number"}}}), ("churn", {})):
        await api.ok("PUT", f"/v1/event-types/{type_}", json={"name": type_, "json_schema": schema})
    await decide(api, "before-it-began")
    await happen(api, CUSTOMERS[0], "early", "churn")  # before this customer's first decision
    body = {"share": ALL.share, "name": "Control", "events": EVENTS}
    await api.ok("PUT", "/v1/holdouts/all", json=body)
    await api.ok("PUT", "/v1/holdouts/growth", json={"share": GROWTH.share, "goal": "grow"})
    for number, customer in enumerate(CUSTOMERS):
        for round_ in range(1 + number % 2):
            answer = await decide(api, customer)
            for offer in answer["offers"][: (number + round_) % 3]:
                await tell(api, answer["decision_id"], offer["offer_id"], "accepted", value=2.5 + number)
                told.of[customer]["acceptances"] += 1
                told.of[customer]["value"] += 2.5 + number
        for place in range(number % 4):
            await happen(api, customer, f"order-{number}-{place}", "order", amount=10.0 * place + number)
            told.of[customer]["order:amount"] += 10.0 * place + number
            told.of[customer]["order"] += 1
        if number % 5 == 0:
            await happen(api, customer, f"churn-{number}", "churn")
            told.of[customer]["churn"] += 1
    await happen(api, "nobody-who-asked", "other", "churn")
    for customer in ("nobody-who-asked", CUSTOMERS[0]):  # as triggers ask
        await decide(api, customer, decision_id=f"firing-{customer}:0:home")
    await shop.worker.drain()
    await shop.worker.expire(ahead_s=WEEK_S)
    free = next(c for c in CUSTOMERS if not is_in(c, ALL) and not is_in(c, GROWTH))
    answer = await decide(api, free)  # its window stays open
    await tell(api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted", value=1000)
    await shop.worker.drain()
    return told


def sides(holdout: Holdout, *others: Holdout) -> tuple[list[str], list[str]]:
    """The customers who were treated, and who were held out, without those in others."""
    counted = [c for c in CUSTOMERS if not any(is_in(c, other) for other in others)]
    return [c for c in counted if not is_in(c, holdout)], [c for c in counted if is_in(c, holdout)]


def check_measure(row: dict[str, Any], told: Told, treated: list[str], held_out: list[str]) -> None:
    """Compare a row with what was told."""
    ones, others = (np.array(told.values(side, row["measure"])) for side in (treated, held_out))
    assert row["treated_total"] == pytest.approx(ones.sum())
    assert row["held_out_total"] == pytest.approx(others.sum())
    assert row["difference"] == pytest.approx(ones.mean() - others.mean())
    expected = stats.ttest_ind(ones, others, equal_var=False).confidence_interval(0.95)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((expected.low, expected.high))
    if others.sum() > 0:
        assert row["ratio"] == pytest.approx(ones.mean() / others.mean())
        parts = [side.var(ddof=1) / len(side) / side.mean() ** 2 for side in (ones, others)]
        assert row["ratio_high"] == pytest.approx(
            row["ratio"] * np.exp(1.95996 * np.sqrt(sum(parts))), rel=1e-4
        )
    else:
        assert row["ratio"] is None


async def test_it_is_what_a_plain_calculation_gives(shop: Nextbest, told: Told) -> None:
    found = await shop.api.ok("GET", ONE, role="ops")
    treated, held_out = sides(ALL)
    assert (found["treated"], found["held_out"]) == (len(treated), len(held_out))
    assert (found["share"], found["goal"], found["excluded"]) == (0.3, None, [])
    assert [row["measure"] for row in found["measures"]] == MEASURES
    for row in found["measures"]:
        check_measure(row, told, treated, held_out)
    acceptances = found["measures"][0]
    assert acceptances["held_out_total"] == 0
    assert found["open"] == 2  # both slots
    assert [warning["code"] for warning in found["warnings"]] == ["few"]
    expected = stats.chisquare([len(treated), len(held_out)], [0.7 * 60, 0.3 * 60]).pvalue
    assert found["sample_ratio_p"] == pytest.approx(expected)


async def test_of_a_goal_who_is_held_out_from_everything_is_on_neither_side(
    shop: Nextbest, told: Told
) -> None:
    path = "/v1/reports/holdout/growth?event=order,churn&event=order:amount"
    found = await shop.api.ok("GET", path, role="scientist")
    treated, held_out = sides(GROWTH, ALL)
    assert (found["treated"], found["held_out"], found["excluded"]) == (len(treated), len(held_out), ["all"])
    assert [row["measure"] for row in found["measures"]] == [*MEASURES[:2], "order", "churn", "order:amount"]
    for row in found["measures"]:
        check_measure(row, told, treated, held_out)
    assert found["measures"][0]["held_out_total"] > 0  # loans


async def test_as_a_file_it_is_the_same(shop: Nextbest, told: Told) -> None:
    rows = (await shop.api.ok("GET", ONE))["measures"]
    answer = await shop.api.call("GET", f"{ONE}?format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["measure"] for row in table] == MEASURES
    for row, line in zip(rows, table, strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items()} == line
    answer = await shop.api.call("GET", f"{ONE}?format=parquet")
    assert answer.headers["Content-Type"] == PARQUET
    assert 'filename="holdout-all.parquet"' in answer.headers["Content-Disposition"]
    assert pq.read_table(io.BytesIO(answer.content)).to_pylist() == rows


async def test_days_are_those_of_the_zone(shop: Nextbest, told: Told) -> None:
    found = await shop.api.ok("GET", f"{ONE}?until=2020-01-02&time_zone=Europe/Madrid")
    assert (found["treated"], found["held_out"]) == (0, 0)
    problem_of(await shop.api.call("GET", f"{ONE}?since=2020-01-02&until=2020-01-02"), 422, "until")


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/v1/reports/holdout/none", 404, None),
        (f"{ONE}?event=ordr", 422, "event.event"),
        (f"{ONE}?event=order:amont", 422, "event.property"),
        (f"{ONE}?event=:amount", 422, "event.0"),
        (f"{ONE}?format=xml", 422, "format"),
    ],
)
async def test_what_cannot_be_reported_is_refused(
    shop: Nextbest, told: Told, path: str, status: int, field: str | None
) -> None:
    problem_of(await shop.api.call("GET", path), status, field)


async def test_one_that_takes_too_long_says_what_to_leave_out(
    shop: Nextbest, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_holdout_report, "TIMEOUT_S", 0.001)
    problem_of(await shop.api.call("GET", ONE), 422, "since")


async def test_what_workers_of_an_earlier_version_archived_is_counted_too(shop: Nextbest, told: Told) -> None:
    before = await shop.api.ok("GET", ONE)
    async with shop.api.state.engine.begin() as connection:
        await connection.execute(
            text("UPDATE decisions SET holdouts = NULL, catalog_version = NULL, offered = NULL")
        )
    after = await shop.api.ok("GET", ONE)
    assert (after["measures"], after["open"]) == (before["measures"], before["open"])


async def shift(shop: Nextbest, days: int) -> None:
    """Have everything happen some days later."""
    async with shop.api.state.engine.begin() as connection:
        for table, column in MOVED.items():
            moved = f"UPDATE {table} SET {column} = {column} + make_interval(days => :days)"
            await connection.execute(text(moved), {"days": days})


async def later_report(shop: Nextbest, holdout_id: str) -> dict[str, Any]:
    """The report as it is in three days."""
    state, now_ms = shop.api.state, clock.now_ms() + 3 * clock.DAY_MS
    reports = HoldoutReports(partial(holdout_sides, state.engine), state.catalogues, lambda: now_ms)
    found = await reports.report(state.current_catalogue(), holdout_id, None, None, None)
    return found | {"counted_to": None}


async def test_rolled_up_it_is_the_same_until_the_log_knows_more(
    shop: Nextbest, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, later = shop.api.state, clock.to_datetime(clock.now_ms() + 3 * clock.DAY_MS)
    days = AskedDays(state.engine)

    async def change(statement: str) -> None:
        async with state.engine.begin() as connection:
            await connection.execute(text(statement))

    await shift(shop, 1)  # to a day that lies in the report as a whole
    try:
        assert await days.roll_up(later) == 0  # a window is open
        await shift(shop, -1)
        await shop.worker.expire(ahead_s=WEEK_S)
        await shop.worker.drain()
        await shift(shop, 1)
        before = {name: await later_report(shop, name) for name in ("all", "growth")}
        assert before["all"]["open"] == 0 < before["all"]["treated"]
        assert await days.roll_up(later) >= 1
        assert await days.roll_up(later) == 0  # nothing is left
        assert {name: await later_report(shop, name) for name in before} == before
        await change("UPDATE asked_days SET value = value + 1")
        changed = await later_report(shop, "all")
        assert changed["measures"][1] != before["all"]["measures"][1]
        async with state.engine.begin() as connection:
            for statement in REBUILD_ASKED_DAYS:
                await connection.exec_driver_sql(statement)
        assert await later_report(shop, "all") == before["all"]
        assert await days.roll_up(later) >= 1
        assert await later_report(shop, "all") == before["all"]

        async def find_and_begin_anew(*args: Any) -> list[date]:
            found = await find_rolled_up(*args)
            await change("DELETE FROM asked_days")
            return found

        monkeypatch.setattr(store_holdout_report, "find_rolled_up", find_and_begin_anew)
        assert await later_report(shop, "all") == before["all"]
    finally:
        await change("TRUNCATE asked_days, rolled_up_days")
        await shift(shop, -1)


@pytest.fixture
def two_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two days that are to be rolled up."""
    due = "SELECT * FROM (VALUES (date '2020-01-01'), (date '2020-01-02')) AS d (day)"
    monkeypatch.setattr(
        store_asked_days, "_DUE", text(f"{due} WHERE day < cast(:today AS timestamptz) ORDER BY 1")
    )


async def marks(shop: Nextbest) -> list[tuple[str, bool]]:
    """The days that are rolled up or begun, in their order, which are forgotten."""
    async with shop.api.state.engine.begin() as connection:
        rows = await connection.execute(text("DELETE FROM rolled_up_days RETURNING day::text, done"))
        return sorted(map(tuple, rows))


@pytest.mark.usefixtures("two_days")
async def test_a_day_that_cannot_be_rolled_up_keeps_no_other_one_back(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        store_asked_days, "_FILL", text("SELECT 1 / (cast(:day AS date) - date '2020-01-01')")
    )
    now = clock.to_datetime(clock.now_ms())
    assert await AskedDays(shop.api.state.engine).roll_up(now) == 1
    assert await marks(shop) == [("2020-01-01", False), ("2020-01-02", True)]
    assert "the day 2020-01-01 is not rolled up" in caplog.text


@pytest.mark.usefixtures("two_days")
async def test_an_erasure_does_not_wait_for_a_day_that_is_rolled_up_anew(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, held = shop.api.state.engine, 4_711
    values = "'ann', '{}', 0, null, 1, 1, 2, 0"
    monkeypatch.setattr(
        store_asked_days,
        "_FILL",
        text(
            f"WITH held AS (SELECT pg_advisory_xact_lock({held}), cast(:day AS date) AS day)"
            f" INSERT INTO asked_days SELECT day, {values} FROM held"
        ),
    )

    async def is_held() -> bool:
        async with engine.connect() as connection:
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :held AND NOT granted"
            )
            return bool(await connection.scalar(text(waiting), {"held": held}))

    async with engine.begin() as connection:
        await connection.execute(text(f"INSERT INTO asked_days VALUES ('2020-01-01', {values})"))
    async with engine.connect() as holder:
        await holder.execute(text("SELECT pg_advisory_lock(:held)"), {"held": held})
        roll_up = asyncio.create_task(AskedDays(engine).roll_up(clock.to_datetime(clock.now_ms())))
        await eventually(is_held, "a day to be rolled up")
        async with engine.begin() as eraser:
            await eraser.execute(store_erasing._UNMARK_DAYS)
            erased = eraser.execute(store_erasing._DAYS, {"customer_id": "ann", "pseudonym": "nobody"})
            await within(erased, "the customer's rows")
        await holder.execute(text("SELECT pg_advisory_unlock(:held)"), {"held": held})
    assert await roll_up == 1, "the other day"
    assert await marks(shop) == [("2020-01-02", True)]
    async with engine.begin() as connection:
        left = await connection.scalars(text("DELETE FROM asked_days RETURNING day::text"))
        assert left.all() == ["2020-01-02"]


async def test_what_is_archived_of_a_day_takes_its_mark_away(shop: Nextbest, told: Told) -> None:
    async def mark() -> None:
        async with shop.api.state.engine.begin() as connection:
            await connection.execute(text("INSERT INTO rolled_up_days VALUES (cast(now() AS date), true)"))

    async def is_marked() -> bool:
        await shop.worker.drain()
        async with shop.api.state.engine.connect() as connection:
            return bool(await connection.scalar(text("SELECT count(*) FROM rolled_up_days")))

    await mark()
    answer = await decide(shop.api, CUSTOMERS[0])
    assert not await is_marked()
    await mark()
    for offer in answer["offers"]:
        await tell(shop.api, answer["decision_id"], offer["offer_id"], "presented")
    assert await is_marked()  # it changes nothing here
    await shop.worker.expire(ahead_s=WEEK_S)
    assert not await is_marked()


async def test_a_changed_share_begins_anew_and_says_so(shop: Nextbest, told: Told) -> None:
    await shop.api.ok("PATCH", "/v1/holdouts/all", json={"share": 0.5})
    found = await shop.api.ok("GET", ONE)
    assert (found["treated"], found["held_out"], found["share"]) == (0, 0, 0.5)
    assert [warning["code"] for warning in found["warnings"]] == ["changed", "few"]
    held_out = [c for c in CUSTOMERS if is_in(c, Holdout("all", 0.5))]
    for customer in held_out[:12]:  # as if those who are treated did not ask any more
        assert (await decide(shop.api, customer))["offers"] == []
    await shop.worker.drain()
    found = await shop.api.ok("GET", ONE)
    assert (found["treated"], found["held_out"]) == (0, 12)
    assert [warning["code"] for warning in found["warnings"]] == ["changed", "few", "sample_ratio"]
