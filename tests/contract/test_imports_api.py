"""Imports and customers over HTTP: files are loaded row by row, effective at once, and harmless when sent again."""

import asyncio
import io
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, tell, traces

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARQUET = {"Content-Type": "application/vnd.apache.parquet"}
HISTORY = (
    "customer_id,offer_id,decided_at,outcome,value,placement\n"
    "h1,gold,2020-01-01T10:30:00Z,accepted,5,branch\n"
    "h2,gold,2020-01-01T10:45:00Z,rejected,,branch\n"
    "h3,silver,1577966400,expired,,\n"
)


def parquet(**columns: list[Any]) -> bytes:
    """A Parquet file with these columns."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


async def send(
    api: Instance, kind: str, content: str | bytes, headers: dict[str, str] = CSV
) -> httpx.Response:
    """Upload a file."""
    return await api.call("POST", f"/v1/imports/{kind}", content=content, headers=headers, role="ops")


async def load(api: Instance, kind: str, content: str | bytes, headers: dict[str, str] = CSV) -> Any:
    """Upload a file that must be taken; returns the report."""
    response = await send(api, kind, content, headers)
    assert response.status_code == 200, response.text
    return response.json()


def repeated(value: str, rows: int) -> pa.DictionaryArray:
    """A column that says one text so many times, and stores it once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))


def large_texts() -> bytes:
    """400 MB of texts in some kilobytes."""
    table = pa.table({"customer_id": repeated("ann", 100_000), "a": repeated("x" * 4000, 100_000)})
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", store_schema=False)
    return out.getvalue()


def large_page() -> bytes:
    """A text of 60 MB in some kilobytes."""
    out = io.BytesIO()
    pq.write_table(pa.table({"customer_id": ["ann"], "a": ["x" * (60 << 20)]}), out, compression="zstd")
    return out.getvalue()


def wide_csv() -> bytes:
    """100,000 columns."""
    return b"customer_id," + b",".join(b"c%d" % number for number in range(100_000)) + b"\nann\n"


@pytest.mark.parametrize(
    ("bomb", "headers", "words"),
    [
        (large_texts, PARQUET, "far more than a file of this size"),
        (large_page, PARQUET, "a page of 60 MiB; at most 16"),
        (wide_csv, CSV, "100001 columns; at most 5000"),
    ],
)
async def test_a_small_file_that_stands_for_much_is_refused_and_changes_nothing(
    nextbest: Nextbest, api: Instance, bomb: Callable[[], bytes], headers: dict[str, str], words: str
) -> None:
    content, before = bomb(), await traces(nextbest)
    at_rest = peak = psutil.Process().memory_info().rss
    task = asyncio.create_task(send(api, "customers", content, headers))
    while not task.done():
        await asyncio.sleep(0.002)
        peak = max(peak, psutil.Process().memory_info().rss)
    assert words in str(problem_of(await task, 422))
    assert peak - at_rest < 200 << 20
    assert await traces(nextbest) == before


async def test_customers_from_csv_and_parquet(api: Instance) -> None:
    await api.ok("PUT", "/v1/placements/letters", json={"channel": "mail", "deadline_ms": 5000})
    csv = "customer_id,age,attributes.vip,indicators.spend,interests.tea,holdings,consents.marketing\n"
    csv += '"a/b",35,true,3.5,0.5,card|loan,web|mail\nsecond,,,,,,\n'
    report = await load(api, "customers", csv)
    assert report == {"rows": 2, "loaded": 2, "refused": 0, "refusals": [], "new": None}
    assert await api.ok("GET", "/v1/customers/a%2Fb") == {
        "customer_id": "a/b",
        "attributes": {"age": 35, "vip": True},
        "indicators": {"spend": 3.5},
        "holdings": ["card", "loan"],
        "interests": {"tea": 0.5},
        "consents": {"marketing": ["web", "mail"]},
        "objections": {},
        "suppressions": [],
        "household_id": None,
        "propensities": {},
    }
    content = parquet(customer_id=["second", "third"], city=["Bern", None], holdings=[["a|b"], []])
    assert (await load(api, "customers", content, PARQUET))["loaded"] == 2
    second = await api.ok("GET", "/v1/customers/second")
    assert (second["attributes"], second["holdings"]) == ({"city": "Bern"}, ["a|b"])


async def test_refused_rows_are_described_and_all_others_loaded(api: Instance) -> None:
    csv = "customer_id,offer_id,propensity\np1,gold,0.25\np1,nothing,0.5\np2,gold,1.5\n"
    csv += ",gold,0.5\np3,gold\n\np4,silver,1\np5,nothing,high\n"
    report = await load(api, "propensities", csv)
    assert (report["rows"], report["loaded"], report["refused"]) == (7, 2, 5)
    found = [(r["line"], r["row"], r["entity"], r["field"], r["value"]) for r in report["refusals"]]
    assert found == [
        (3, 2, "customers.p1", "offer_id", "nothing"),
        (4, 3, "customers.p2", "propensity", "1.5"),
        (5, 4, None, "customer_id", ""),
        (6, 5, None, None, "p3,gold"),
        (9, 7, "customers.p5", "offer_id", "nothing"),
        (9, 7, "customers.p5", "propensity", "high"),
    ]
    assert all(refusal["reason"] for refusal in report["refusals"])
    assert (await api.ok("GET", "/v1/customers/p1"))["propensities"] == {"gold": 0.25}
    assert (await api.ok("GET", "/v1/customers/p4"))["propensities"] == {"silver": 1}
    for name in ("p2", "p3"):
        problem_of(await api.call("GET", f"/v1/customers/{name}"), 404)


async def test_all_columns_that_are_wrong_are_named_and_nothing_is_loaded(api: Instance) -> None:
    csv = "\ncustomer,offer_id,propensity\np9,gold,0.5\n"
    answer = await api.call("POST", "/v1/imports/propensities", content=csv, headers=CSV)
    problem = problem_of(answer, 422)
    assert [(error["line"], error["field"]) for error in problem["errors"]] == [
        (2, "customer_id"),
        (2, "customer"),
    ]
    content = parquet(customer_id=[1.5], offer_id=["gold"], propensity=[True])
    answer = await api.call("POST", "/v1/imports/propensities", content=content, headers=PARQUET)
    problem = problem_of(answer, 422)
    assert [error["field"] for error in problem["errors"]] == ["customer_id", "propensity"]
    assert "line" not in problem["errors"][0]


async def test_thousands_of_refusals_get_a_bounded_report(api: Instance) -> None:
    rows = "".join(f"c{number},gold,2\n" for number in range(5000))
    report = await load(api, "propensities", "customer_id,offer_id,propensity\n" + rows + "last,gold,0.5\n")
    assert (report["loaded"], report["refused"], len(report["refusals"])) == (1, 5000, 1000)
    assert [refusal["row"] for refusal in report["refusals"]] == list(range(1, 1001))


async def test_a_file_may_be_sent_again(shop: Nextbest) -> None:
    customers = "customer_id,age\nagain,1\nagain,2\n"
    propensities = "customer_id,offer_id,propensity\nagain,gold,0.125\nagain,silver,0.5\n"
    for _ in range(3):
        assert (await load(shop.api, "customers", customers))["loaded"] == 2
        assert (await load(shop.api, "propensities", propensities))["loaded"] == 2
    customer = await shop.api.ok("GET", "/v1/customers/again")
    assert customer["attributes"] == {"age": 2}
    assert customer["propensities"] == {"gold": 0.125, "silver": 0.5}
    await load(shop.api, "propensities", "customer_id,offer_id,propensity\nagain,gold,0.75\n")
    merged = (await shop.api.ok("GET", "/v1/customers/again"))["propensities"]
    assert merged == {"gold": 0.75, "silver": 0.5}


async def test_history_counts_once(shop: Nextbest) -> None:
    path = "/v1/reports/acceptance?by=policy&policy=history"
    reports = []
    for new in (3, 0, 0):
        report = await load(shop.api, "history", HISTORY)
        assert (report["loaded"], report["refused"], report["new"]) == (3, 0, new)
        await shop.worker.drain()
        await shop.worker.expire()
        reports.append(await shop.api.ok("GET", path))
    assert reports[0] == reports[1] == reports[2]
    (row,) = reports[0]["rows"]
    counts = {name: row[name] for name in ("decided", "accepted", "rejected", "ignored", "observed", "value")}
    assert counts == {"decided": 3, "accepted": 1, "rejected": 1, "ignored": 1, "observed": 3, "value": 5}
    grown = HISTORY + "h4,gold,2020-01-02T00:00:00Z,accepted,,branch\n"
    assert (await load(shop.api, "history", grown))["new"] == 1


async def test_history_has_no_selection_probability(shop: Nextbest) -> None:
    await load(shop.api, "history", HISTORY)
    await shop.worker.drain()
    query = "SELECT decision_id FROM decisions WHERE customer_id = 'h1'"
    async with shop.api.state.engine.connect() as connection:
        decision_id = (await connection.exec_driver_sql(query)).scalar_one()
    record = await shop.api.ok("GET", f"/v1/decisions/{decision_id}")
    assert (record["source"], record["placement"], record["policy"]["name"]) == (
        "history",
        "branch",
        "history",
    )
    (offer,) = record["offers"]
    assert (offer["offer_id"], offer["probability"], offer["treatment"]) == ("gold", None, None)
    assert record["outcomes"][0]["outcome"] == "accepted"


async def test_values_of_history_can_be_added_up(shop: Nextbest) -> None:
    header = "customer_id,offer_id,decided_at,outcome,value\n"
    rows = "".join(f"rich{n},gold,2021-01-01T00:00:00Z,accepted,1.7e308\n" for n in range(2))
    report = await load(shop.api, "history", header + rows + "poor,gold,2021-01-01T00:00:00Z,accepted,1e15\n")
    assert [refusal["field"] for refusal in report["refusals"]] == ["value", "value"]
    await shop.worker.drain()


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json", "application/zip", "x/csv"])
async def test_other_content_types_are_refused(api: Instance, content_type: str) -> None:
    response = await send(api, "customers", "customer_id\n1\n", {"Content-Type": content_type})
    assert "text/csv" in problem_of(response, 415, "Content-Type")["detail"]


@pytest.mark.parametrize(
    ("kind", "content", "headers", "field"),
    [
        ("customers", "", CSV, "body"),
        ("customers", "\n\n\n", CSV, "body"),
        ("customers", "age\n1\n", CSV, "customer_id"),
        ("customers", "customer_id,customer_id\n1,1\n", CSV, "customer_id"),
        ("customers", "customer_id;age\n1;2\n", CSV, "body"),
        ("customers", b"customer_id\n\xff\n", CSV, "body"),
        ("customers", "customer_id\n1\n".encode("utf-16"), CSV, "body"),
        ("customers", b"PK\x03\x04xl/workbook.xml", CSV, "body"),
        ("customers", 'customer_id\n"never closed\n', CSV, "body"),
        ("customers", "customer_id\n1\n", PARQUET, "body"),
        ("customers", parquet(customer_id=["1"]), CSV, "body"),
        ("customers", parquet(customer_id=["1"])[:-9], PARQUET, "body"),
        ("customers", parquet(customer_id=[1.5]), PARQUET, "customer_id"),
        ("propensities", "customer_id,offer_id\n1,gold\n", CSV, "propensity"),
        ("propensities", "customer_id,offer_id,propensity,colour\n1,gold,1,red\n", CSV, "colour"),
        ("history", "customer_id,offer_id,decided_at\n1,gold,2020-01-01\n", CSV, "outcome"),
    ],
)
async def test_files_that_cannot_be_read_change_nothing(
    shop: Nextbest, kind: str, content: str | bytes, headers: dict[str, str], field: str
) -> None:
    before = await traces(shop)
    problem_of(await send(shop.api, kind, content, headers), 422, field)
    assert await traces(shop) == before


async def test_there_are_three_kinds(api: Instance) -> None:
    problem_of(await send(api, "orders", "customer_id\n1\n"), 422, "kind")


async def test_hostile_cells_are_data(api: Instance) -> None:
    cells = ["'; DROP TABLE customers; --", "=cmd|' /C calc'!A0", "\\N", "\\.", "{}", "NULL", "\u202e💥"]
    rows = "".join(f'"{cell}","{cell}","{cell}"\n' for cell in cells)
    report = await load(api, "customers", "customer_id,note,holdings\n" + rows)
    assert report["refused"] == 0
    for cell in cells:
        response = await api.http.get(
            httpx.URL("http://nextbest").copy_with(path=f"/v1/customers/{cell}"),
            headers={"X-API-Key": api.keys["ops"]},
        )
        customer = response.json()
        assert (customer["customer_id"], customer["attributes"]) == (cell, {"note": cell})


async def test_imports_are_in_force_when_they_are_answered(shop: Nextbest) -> None:
    """Cached profiles are not used any more, in no instance."""
    async with shop.another() as other:
        for instance in (shop.api, other):
            assert "phone" not in str(await decide(instance, "imported", limit=2, dry_run=True))
            await decide(instance, "imported")
        await load(shop.api, "customers", "customer_id,consents.marketing\nimported,*\n")
        await load(shop.api, "propensities", "customer_id,offer_id,propensity\nimported,phone,1\n")
        placement = {"channel": "web", "slots": 3, "control_share": 0, "deadline_ms": 5000}
        await shop.api.ok("PUT", "/v1/placements/three", json=placement)
        answer = await decide(shop.api, "imported", "three")
        phone = next(offer for offer in answer["offers"] if offer["offer_id"] == "phone")
        assert phone["factors"]["P"] > 0.5
        assert await tell(other, answer["decision_id"], "phone", "accepted") == "recorded"
