"""The report on offers: closed windows only, the same from roll-up and log, lift against control, files."""

import csv
import io
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from sqlalchemy import text

from app.api.reports.offer_schemas import OfferReport
from decisioning.reporting import store_offer_report
from tests.support.api import CSV, Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEEK_S = 7 * 86_400
HISTORY = """customer_id,offer_id,decided_at,outcome,value,placement
r1,gold,2020-01-05T22:30:00Z,accepted,5,branch
r2,gold,2020-01-05T23:30:00Z,rejected,,branch
r3,silver,2020-01-31T22:59:59Z,expired,,branch
r4,silver,2020-01-31T23:00:00Z,expired,,branch
"""
FIGURES = (
    "decided",
    "open",
    "presented",
    "clicked",
    "accepted",
    "rejected",
    "ignored",
    "unobserved",
    "value",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shop: Nextbest) -> Nextbest:
    """An installation with history, closed decisions, and one whose window is open."""
    await shop.api.ok("PUT", "/v1/segments/some", json={"when": "customer.known"})
    await shop.api.ok("PUT", "/v1/customers/c-0", json={"attributes": {}})
    await shop.api.ok("POST", "/v1/imports/history", content=HISTORY, headers=CSV)
    body = {"channel": "web", "slots": 1, "control_share": 0.5, "reward_window_s": 3600, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/quick", json=body)
    silent = await decide(shop.api, "c-0", "quick")
    for number in range(1, 12):
        answer = await decide(shop.api, f"c-{number}", "quick")
        for outcome in ("presented", "clicked", "accepted")[: number % 4]:
            value = {"value": 2.5} if outcome == "accepted" else {}
            await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], outcome, **value)
    await shop.worker.drain()
    await shop.worker.expire(ahead_s=WEEK_S)
    await tell(shop.api, silent["decision_id"], silent["offers"][0]["offer_id"], "presented")  # too late
    answer = await decide(shop.api, "c-open", "quick")
    for outcome in ("presented", "accepted"):
        await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], outcome)
    await shop.worker.drain()
    return shop


async def report(nextbest: Nextbest, query: str) -> list[dict[str, Any]]:
    """The rows of a report."""
    answer = await nextbest.api.ok("GET", f"/v1/reports/offers?{query}", role="ops")
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The sums of the figures of rows."""
    return {name: sum(row[name] for row in rows) for name in FIGURES}


async def test_only_closed_windows_count(filled: Nextbest) -> None:
    answer = await filled.api.ok("GET", "/v1/reports/offers?by=placement&placement=quick")
    (row,) = answer["rows"]
    assert answer["open"] == row["open"] == 1
    found = {name: row[name] for name in FIGURES if row[name]}
    assert found == {
        "decided": 12,
        "open": 1,
        "presented": 9,
        "clicked": 6,
        "accepted": 3,
        "ignored": 9,
        "value": 7.5,
    }
    assert (row["observed"], row["rate"]) == (12, 0.25)
    assert 0 < row["low"] < 0.25 < row["high"] < 1


async def test_answers_are_of_the_documented_form(filled: Nextbest) -> None:
    for by in (
        "by=offer",
        "by=day,placement&by=policy",
        "by=segment,treatment,control_group,channel,group,goal",
    ):
        answer = await filled.api.call("GET", f"/v1/reports/offers?{by}")
        again = OfferReport.model_validate_json(answer.content).model_dump(mode="json", exclude_unset=True)
        assert again == answer.json()


async def test_the_roll_up_and_the_log_agree(filled: Nextbest) -> None:
    rolled_up = await report(filled, "by=placement,offer,policy,control_group")
    logged = await report(filled, "by=placement,offer,policy,control_group,treatment")
    of_offers = {
        key: figures([r for r in logged if (r["placement"], r["offer"], r["control_group"]) == key])
        for key in {(r["placement"], r["offer"], r["control_group"]) for r in logged}
    }
    assert of_offers == {(r["placement"], r["offer"], r["control_group"]): figures([r]) for r in rolled_up}
    assert {row["treatment"] for row in logged} == {None, "banner"}


async def test_however_many_windows_are_open_the_log_is_not_read(filled: Nextbest) -> None:
    before = await report(filled, "by=day,placement,offer,policy,control_group")
    async with filled.api.state.engine.connect() as connection:
        await connection.execute(text("LOCK TABLE decisions, outcomes"))
        assert await report(filled, "by=day,placement,offer,policy,control_group") == before
        assert figures(before)["open"] == 1


async def test_every_dimension_alone_has_the_same_sums(filled: Nextbest) -> None:
    total = figures(await report(filled, "by=offer"))
    for name in store_offer_report._COLUMNS:
        assert figures(await report(filled, f"by={name}")) == total, name


async def test_days_weeks_and_months_are_those_of_the_zone(filled: Nextbest) -> None:
    history = "placement=branch&until=2021-01-01"
    madrid = f"{history}&time_zone=Europe/Madrid"
    days = await report(filled, f"by=day&{madrid}")
    assert [(r["day"], r["decided"]) for r in days] == [
        ("2020-01-05", 1),
        ("2020-01-06", 1),
        ("2020-01-31", 1),
        ("2020-02-01", 1),
    ]
    weeks = await report(filled, f"by=week&{madrid}")
    assert [(r["week"], r["decided"]) for r in weeks] == [
        ("2019-12-30", 1),
        ("2020-01-06", 1),
        ("2020-01-27", 2),
    ]
    months = await report(filled, f"by=month&{madrid}")
    assert [(r["month"], r["decided"]) for r in months] == [("2020-01-01", 3), ("2020-02-01", 1)]
    assert [r["decided"] for r in await report(filled, f"by=month&{history}")] == [4]
    # Half an hour from the hours of the roll-up.
    kolkata = await report(filled, f"by=day&{history}&time_zone=Asia/Kolkata")
    assert [(r["day"], r["decided"]) for r in kolkata] == [("2020-01-06", 2), ("2020-02-01", 2)]
    since = await report(filled, "placement=branch&since=2020-01-06&until=2020-02-01&time_zone=Europe/Madrid")
    assert {r["offer"]: r["decided"] for r in since} == {"gold": 1, "silver": 1}


async def test_lift_is_against_the_control_group(filled: Nextbest) -> None:
    by_group = {r["control_group"]: r for r in await report(filled, "by=control_group&placement=quick")}
    assert by_group.keys() == {"champion", "control"}
    champion, control = by_group["champion"], by_group["control"]
    (whole,) = await report(filled, "by=placement&placement=quick")
    for row in (champion, whole):
        assert (row["control_observed"], row["control_accepted"]) == (
            control["observed"],
            control["accepted"],
        )
        assert row["difference"] == pytest.approx(champion["rate"] - control["rate"])
        assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert control["difference"] == 0
    (nobody,) = await report(filled, "by=placement&placement=quick&against=random")
    assert (nobody["lift"], nobody["difference"], nobody["control_observed"]) == (None, None, 0)


async def test_segments_treatments_groups_and_goals(filled: Nextbest) -> None:
    rows = await report(filled, "by=segment&by=goal&by=group&by=channel&placement=quick")
    assert [(r["segment"], r["goal"], r["group"], r["channel"]) for r in rows] == [
        ("some", "grow", "cards", "web"),
        (None, "grow", "cards", "web"),
    ]
    assert [r["decided"] + r["open"] for r in rows] == [1, 12]


async def test_files_have_the_same_rows(filled: Nextbest) -> None:
    rows = await report(filled, "by=day,offer")
    found = await filled.api.call("GET", "/v1/reports/offers?by=day,offer&format=csv", role="scientist")
    assert found.headers["Content-Type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(found.text)))
    assert [(r["day"], r["offer"], int(r["decided"]), float(r["value"])) for r in table] == [
        (r["day"], r["offer"], r["decided"], r["value"]) for r in rows
    ]
    assert [r["lift"] == "" for r in table] == [r["lift"] is None for r in rows]
    found = await filled.api.call("GET", "/v1/reports/offers?by=day,offer&format=parquet")
    parquet = pq.read_table(io.BytesIO(found.content)).to_pylist()
    assert [{**r, "day": r["day"].isoformat()} for r in parquet] == rows


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("by=colour", "by.0"),
        ("time_zone=Madrid", "time_zone"),
        ("since=2026-02-01&until=2026-02-01", "until"),
        ("since=3", "since"),
        ("since=0001-01-01&time_zone=Europe/Madrid", "since"),
        ("until=9999-12-31&time_zone=America/New_York", "until"),
        ("offer=%00", "offer"),
        ("format=xlsx", "format"),
        ("from=2026-01-01", "from"),
    ],
)
async def test_queries_that_are_not_valid(filled: Nextbest, query: str, field: str) -> None:
    problem_of(await filled.api.call("GET", f"/v1/reports/offers?{query}"), 422, field)


async def test_a_report_that_is_too_long_or_too_slow_says_so(
    filled: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_offer_report, "MAX_ROWS", 1)
    detail = problem_of(await filled.api.call("GET", "/v1/reports/offers?by=day,offer"), 422, "by")["detail"]
    assert "more than 1 rows" in detail
    monkeypatch.setattr(
        store_offer_report,
        "TOLD",
        store_offer_report.TOLD.replace("x.late)", "x.late AND pg_sleep(1) IS NULL)", 1),
    )
    monkeypatch.setattr(store_offer_report, "TIMEOUT_S", 0.2)
    detail = problem_of(await filled.api.call("GET", "/v1/reports/offers?by=treatment"), 422, "since")[
        "detail"
    ]
    assert "since and until" in detail
