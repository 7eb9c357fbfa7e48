"""The interval of the value in the report on offers: of roll-up and log, as numpy has it, and where it is not known."""

import csv
import io
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from sqlalchemy import text

from bandits.intervals import Z95
from decisioning.log.store_sql import REBUILD_ACCEPTANCE
from tests.support.api import CSV, Nextbest, decide, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEEK_S = 7 * 86_400
VALUES = (2.5, 40.0, -3.25, 1e-200, None, 0.1, 7.0, None)
"""What was told of the acceptance of the first offer of each decision; ``None``: nothing was."""
HISTORY = """customer_id,offer_id,decided_at,outcome,value,placement
r1,gold,2020-01-05T22:30:00Z,accepted,5,branch
r2,gold,2020-01-05T23:30:00Z,rejected,,branch
r3,gold,2020-01-31T22:59:59Z,accepted,12.5,branch
r4,silver,2020-01-31T23:00:00Z,accepted,4,branch
"""
FROM_LOG = "&since=2000-01-01&time_zone=Asia/Kolkata"
"""Days that begin half an hour from the hours of the roll-up."""
INTERVAL = ("value_mean", "value_low", "value_high")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(shop: Nextbest) -> tuple[Nextbest, list[float]]:
    """An installation with history, closed decisions for two offers each, and an open one; and the values of all."""
    await shop.api.ok("POST", "/v1/imports/history", content=HISTORY, headers=CSV)
    body = {"channel": "web", "slots": 2, "control_share": 0, "reward_window_s": 3600, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/quick", json=body)
    values: list[float] = []
    answers = []
    for number, value in enumerate(VALUES):
        answer = await decide(shop.api, f"c-{number}", "quick")
        answers.append(answer)
        for place, offer in enumerate(answer["offers"]):
            told = value if place == 0 else 1.5 if number == 1 else None
            values.append(told or 0.0)
            if told is not None:
                await tell(shop.api, answer["decision_id"], offer["offer_id"], "accepted", value=told)
    await shop.worker.drain()
    await shop.worker.expire(ahead_s=WEEK_S)
    late = answers[VALUES.index(None)]
    await tell(shop.api, late["decision_id"], late["offers"][0]["offer_id"], "accepted", value=1000)
    answer = await decide(shop.api, "c-open", "quick")
    await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted", value=500)
    await shop.worker.drain()
    assert len(values) == 2 * len(VALUES)
    return shop, values


def interval_of(values: list[float]) -> tuple[float, float, float]:
    """Mean and normal interval of values, by numpy."""
    mean, half = float(np.mean(values)), float(Z95 * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


async def rows_of(nextbest: Nextbest, query: str) -> list[dict[str, Any]]:
    """The rows of a report."""
    answer = await nextbest.api.ok("GET", f"/v1/reports/offers?{query}", role="ops")
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


@pytest.mark.parametrize("path", ["roll-up", "log"])
async def test_the_interval_is_that_of_the_values_of_offers(
    filled: tuple[Nextbest, list[float]], path: str
) -> None:
    nextbest, values = filled
    scope = "" if path == "roll-up" else FROM_LOG
    (row,) = await rows_of(nextbest, f"by=placement&placement=quick{scope}")
    assert (row["observed"], row["open"]) == (len(values), 2)
    assert [row[name] for name in INTERVAL] == pytest.approx(interval_of(values)), (
        "nothing late, nothing open"
    )
    history = {r["offer"]: r for r in await rows_of(nextbest, f"by=offer&placement=branch{scope}")}
    assert [history["gold"][name] for name in INTERVAL] == pytest.approx(interval_of([5, 0, 12.5]))
    assert [history["silver"][name] for name in INTERVAL] == [4, None, None]


async def test_files_have_the_interval(filled: tuple[Nextbest, list[float]]) -> None:
    nextbest, values = filled
    query = "/v1/reports/offers?by=placement&placement=quick&format="
    (row,) = csv.DictReader(io.StringIO((await nextbest.api.call("GET", query + "csv")).text))
    assert [float(row[name]) for name in INTERVAL] == pytest.approx(interval_of(values))
    (found,) = pq.read_table(
        io.BytesIO((await nextbest.api.call("GET", query + "parquet")).content)
    ).to_pylist()
    assert [found[name] for name in INTERVAL] == pytest.approx(interval_of(values))


async def test_what_an_earlier_version_closed_has_no_interval_until_it_is_counted_again(
    filled: tuple[Nextbest, list[float]],
) -> None:
    nextbest, values = filled
    quick = "by=placement&placement=quick"
    (before,) = await rows_of(nextbest, quick)
    async with nextbest.api.state.engine.begin() as connection:
        # As it adds a closed window to a row that a later version had begun.
        await connection.execute(
            text(
                "UPDATE acceptance SET ignored = ignored + 1, decided = decided + 1 WHERE ctid ="
                " (SELECT min(ctid) FROM acceptance WHERE placement = 'quick')"
            )
        )
    (row,) = await rows_of(nextbest, quick)
    assert [row[name] for name in INTERVAL] == [pytest.approx(sum(values) / (len(values) + 1)), None, None]
    (logged,) = await rows_of(nextbest, quick + FROM_LOG)
    assert logged["value_low"] is not None
    (branch,) = [r for r in await rows_of(nextbest, "by=offer&placement=branch") if r["offer"] == "gold"]
    assert branch["value_low"] is not None, "another row is not affected"
    async with nextbest.api.state.engine.begin() as connection:
        for statement in REBUILD_ACCEPTANCE:
            await connection.exec_driver_sql(statement)
    (row,) = await rows_of(nextbest, quick)
    assert row == pytest.approx(before)
