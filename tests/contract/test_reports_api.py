"""The acceptance report: counts, Wilson intervals worked out by hand, groups and filters."""

import csv
import io
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from decisioning.log.store_sql import REBUILD_ACCEPTANCE
from tests.support.api import CSV, Nextbest, decide, problem_of, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

# 95 % Wilson intervals by (accepted, observed), from the formula with z = 1.959964, worked out apart from the code:
# centre (p + z²/2n) / (1 + z²/n), half-width z/(1 + z²/n) · √(p(1-p)/n + z²/4n²).
WILSON = {
    (3, 7): (0.15822, 0.749542),
    (1, 2): (0.094531, 0.905469),
    (0, 1): (0.0, 0.793451),
}
WEEK_S = 7 * 86_400
COUNTS = (
    *("decided", "presented", "clicked", "accepted", "rejected", "ignored", "unobserved", "late", "value"),
    "observed",
)
HISTORY = """customer_id,offer_id,decided_at,outcome,value,placement
r1,gold,2020-01-01T10:30:00Z,accepted,5,branch
r2,gold,2020-01-01T10:59:59.999Z,rejected,,branch
r3,silver,2020-01-01T11:00:00Z,expired,,branch
r4,silver,2020-01-01T23:30:00-01:00,expired,,fair
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shop: Nextbest) -> Nextbest:
    """An installation with some history and some decisions of its own."""
    await shop.api.ok("POST", "/v1/imports/history", content=HISTORY, headers=CSV)
    for placement, presentation in (("quick", "implicit"), ("spoken", "explicit")):
        body = {
            "channel": "web",
            "slots": 1,
            "control_share": 0,
            "reward_window_s": 3600,
            "deadline_ms": 5000,
        }
        await shop.api.ok("PUT", f"/v1/placements/{placement}", json=body | {"presentation": presentation})
    outcomes = ["accepted", "accepted", "accepted", "rejected", "rejected", None, None]
    for number, outcome in enumerate(outcomes):
        answer = await decide(shop.api, f"live-{number}", "desk")
        offer_id = answer["offers"][0]["offer_id"]
        await tell(shop.api, answer["decision_id"], offer_id, "presented")
        if outcome is not None:
            value = {"value": 2.5} if outcome == "accepted" else {}
            await tell(shop.api, answer["decision_id"], offer_id, outcome, **value)
    for placement in ("quick", "spoken"):
        for number in range(3):
            answer = await decide(shop.api, f"brief-{number}", placement)
            if number == 0:
                await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "clicked")
    await shop.worker.drain()
    return shop


async def report(nextbest: Nextbest, query: str) -> list[dict[str, Any]]:
    """The rows of a report."""
    answer = await nextbest.api.ok("GET", f"/v1/reports/acceptance?{query}", role="scientist")
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


def counts(row: dict[str, Any]) -> dict[str, Any]:
    """The counts of a row that are not zero."""
    return {name: row[name] for name in COUNTS if row[name]}


async def test_counts_of_live_decisions(filled: Nextbest) -> None:
    (row,) = await report(filled, "by=placement&placement=desk")
    told = {"decided": 7, "presented": 7, "accepted": 3, "rejected": 2, "value": 7.5}
    assert counts(row) == told
    assert (row["placement"], row["rate"], row["open"]) == ("desk", None, 7)
    await filled.worker.expire(ahead_s=WEEK_S + 100)
    await filled.worker.drain()
    (row,) = await report(filled, "by=placement&placement=desk")
    assert counts(row) == told | {"ignored": 2, "observed": 7}
    assert (row["accepted_closed"], row["rejected_closed"], row["open"]) == (3, 2, 0)
    assert row["rate"] == pytest.approx(3 / 7)
    assert (row["low"], row["high"]) == pytest.approx(WILSON[3, 7], abs=1e-6)


async def test_silence_counts_only_where_the_offer_was_seen(filled: Nextbest) -> None:
    (quick,) = await report(filled, "placement=quick")
    assert counts(quick) == {"decided": 3, "clicked": 1, "ignored": 3, "observed": 3}
    (spoken,) = await report(filled, "placement=spoken")
    assert counts(spoken) == {"decided": 3, "clicked": 1, "ignored": 1, "unobserved": 2, "observed": 1}
    assert (spoken["rate"], spoken["low"]) == (0, 0)
    assert spoken["high"] == pytest.approx(WILSON[0, 1][1], abs=1e-6)


async def test_groups(filled: Nextbest) -> None:
    rows = await report(filled, "by=offer&by=placement&policy=history")
    found = {(row["offer_id"], row["placement"]): counts(row) for row in rows}
    assert found == {
        ("gold", "branch"): {"decided": 2, "accepted": 1, "rejected": 1, "observed": 2, "value": 5},
        ("silver", "branch"): {"decided": 1, "ignored": 1, "observed": 1},
        ("silver", "fair"): {"decided": 1, "ignored": 1, "observed": 1},
    }
    gold = next(row for row in rows if row["offer_id"] == "gold")
    assert (gold["low"], gold["high"]) == pytest.approx(WILSON[1, 2], abs=1e-6)
    assert not {"policy", "version", "hour", "day"} & gold.keys()


@pytest.mark.parametrize(
    "query", ["", "by=offer&by=policy&by=day", "by=group&by=placement", "by=hour", "placement=nowhere"]
)
async def test_files_have_the_same_rows(filled: Nextbest, query: str) -> None:
    rows, path = await report(filled, query), f"/v1/reports/acceptance?{query}&format="
    found = await filled.api.call("GET", f"{path}csv", role="scientist")
    assert found.headers["Content-Type"].startswith("text/csv")
    assert found.headers["Content-Disposition"] == 'attachment; filename="acceptance.csv"'
    lines = [*csv.DictReader(io.StringIO(found.text))]
    times = [{n: v.replace(".000Z", "Z") if v else v for n, v in line.items()} for line in lines]
    assert times == [{n: "" if v is None else str(v) for n, v in row.items()} for row in rows]
    found = await filled.api.call("GET", f"{path}parquet", role="scientist")
    table = pq.read_table(io.BytesIO(found.content))
    assert {*table.column_names} >= {"decided", "observed", "rate", "low", "high"}
    shown = [
        {n: f"{v:%Y-%m-%dT%H:%M:%SZ}" if isinstance(v, datetime) else v for n, v in row.items()}
        for row in table.to_pylist()
    ]
    assert shown == rows


async def test_a_file_of_another_kind_is_refused(filled: Nextbest) -> None:
    problem_of(await filled.api.call("GET", "/v1/reports/acceptance?format=xlsx"), 422, "format")


async def test_hours_and_days_are_those_of_utc(filled: Nextbest) -> None:
    hours = await report(filled, "by=hour&policy=history")
    assert [(row["hour"], row["decided"]) for row in hours] == [
        ("2020-01-01T10:00:00Z", 2),
        ("2020-01-01T11:00:00Z", 1),
        ("2020-01-02T00:00:00Z", 1),
    ]
    days = await report(filled, "by=day&policy=history")
    assert [(row["day"], row["decided"]) for row in days] == [
        ("2020-01-01T00:00:00Z", 3),
        ("2020-01-02T00:00:00Z", 1),
    ]


@pytest.mark.parametrize(
    ("query", "decided"),
    [
        ("", 4),
        ("&from=2020-01-01T10:00:00Z", 4),
        ("&from=2020-01-01T12:00:00%2B02:00", 4),
        ("&from=2020-01-01T10:30:00Z", 2),
        ("&from=2020-01-01T11:00:00Z", 2),
        ("&to=2020-01-01T11:00:00Z", 2),
        ("&to=2020-01-01T11:00:00.001Z", 3),
        ("&from=2020-01-01T11:00:00Z&to=2020-01-02T00:00:00Z", 1),
        ("&placement=fair", 1),
        ("&placement=branch&to=2020-01-01T11:00:00Z", 2),
    ],
)
async def test_filters(filled: Nextbest, query: str, decided: int) -> None:
    (row,) = await report(filled, f"policy=history{query}")
    assert row["decided"] == decided


@pytest.mark.parametrize(
    "query", ["placement=nowhere", "policy=hist", "policy=histor_", "to=2019-01-01T00:00:00Z", "policy=h"]
)
async def test_nothing_to_report(filled: Nextbest, query: str) -> None:
    assert await report(filled, query) == []


async def test_policies_are_told_with_their_version(filled: Nextbest) -> None:
    rows = await report(filled, "")
    assert {(row["policy"], row["version"]) for row in rows} == {("history", 1), ("calibrated", 1)}
    assert sum(row["decided"] for row in rows) == 4 + 7 + 6


async def test_every_group_adds_up(filled: Nextbest) -> None:
    (total,) = [counts(row) for row in await report(filled, "by=policy&policy=calibrated")]
    for by in ("offer", "placement", "hour", "day", "offer&by=placement&by=hour&by=day&by=policy"):
        rows = await report(filled, f"by={by}&policy=calibrated")
        assert {name: sum(row[name] for row in rows) for name in total} == total


async def test_repeated_groups_are_one(filled: Nextbest) -> None:
    answer = await filled.api.ok("GET", "/v1/reports/acceptance?by=offer&by=offer&by=policy")
    assert answer["by"] == ["offer", "policy"]


async def test_rebuilt_roll_ups_are_the_same(filled: Nextbest) -> None:
    query = "by=offer&by=placement&by=policy&by=hour"
    before = await report(filled, query)
    async with filled.api.state.engine.begin() as connection:
        for statement in REBUILD_ACCEPTANCE:
            await connection.exec_driver_sql(statement)
    assert await report(filled, query) == before


async def test_rebuilt_roll_ups_keep_what_retention_has_taken_from_the_log(filled: Nextbest) -> None:
    query = "by=offer&by=placement&by=policy&by=hour"
    before = await report(filled, query)
    async with filled.api.state.engine.begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO retention_actions (what, removed, before) VALUES ('log', 'all', now() + interval '1 hour')"
        )
        await connection.exec_driver_sql("DELETE FROM outcomes")
        await connection.exec_driver_sql("DELETE FROM decisions")
        for statement in REBUILD_ACCEPTANCE:
            await connection.exec_driver_sql(statement)
    assert await report(filled, query) == before
