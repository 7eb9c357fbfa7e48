"""Reports of thousands of rows: written beside the event loop, which goes on meanwhile."""

import asyncio
import json
import random
from typing import Any

import numpy as np

from app.api.reports.answers import Report, in_turns, json_answer, write_json
from decisioning.reporting.offer_report import COUNTS, SQUARES, Dimension, report_columns, rows_of
from storage.postgres import ROWS_AT_ONCE

OFFERS = 5000


def counts_of_offers() -> dict[str, list[Any]]:
    """Counts of many offers in two control groups."""
    numbers = random.Random(4)
    columns: dict[str, list[Any]] = {
        "offer": [f"offer-{n // 2}" for n in range(2 * OFFERS)],
        "control_group": ["champion", "control"] * OFFERS,
    }
    return columns | {
        name: [numbers.randrange(50) for _ in range(2 * OFFERS)] for name in (*COUNTS, *SQUARES)
    }


async def test_the_event_loop_goes_on_while_a_report_is_made_and_written() -> None:
    counted, ticks, seen = counts_of_offers(), 0, list[int]()

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    def make() -> Report:
        seen.append(ticks)
        columns = report_columns(counted, ["offer"], "control")

        def rows() -> Any:
            for number, row in enumerate(rows_of(columns)):
                if number % ROWS_AT_ONCE == 0:
                    seen.append(ticks)
                yield row

        return {"by": ["offer"]}, rows()

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    answer = await json_answer(make)
    ticking.cancel()
    assert len(json.loads(bytes(answer.body))["rows"]) == OFFERS
    # Made at once it would be none. In turns there are several, however busy the machine is.
    assert len(set(seen)) > 3


def test_what_is_written_is_the_report_with_its_rows() -> None:
    rows = [{"offer": f"offer-{n}", "rate": None if n % 2 else n / 7} for n in range(2 * ROWS_AT_ONCE + 1)]
    for some in (rows, rows[:1], []):
        written = write_json({"by": ["offer"], "open": 3}, iter(some))
        assert json.loads(written) == {"by": ["offer"], "open": 3, "rows": some}


def test_rows_of_columns_are_written_as_mappings_are() -> None:
    dimensions: tuple[list[Dimension], ...] = ([], ["offer"], ["offer", "control_group"])
    for by in dimensions:
        columns = report_columns(counts_of_offers(), by, "control")
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        assert write_json({"by": by}, rows_of(columns)) == write_json({"by": by}, iter(rows))


def test_figures_may_come_as_arrays_of_another_byte_order() -> None:
    counted = counts_of_offers()
    arrays = {
        name: np.array(counted[name], ">f8" if "value" in name else ">i8") for name in (*COUNTS, *SQUARES)
    }
    assert report_columns(counted | arrays, ["offer"], "control") == report_columns(
        counted, ["offer"], "control"
    )


def test_all_items_come_in_their_order() -> None:
    for number in (0, 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1):
        assert [item for some in in_turns(range(number)) for item in some] == list(range(number))
