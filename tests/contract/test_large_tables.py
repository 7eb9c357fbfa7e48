"""Lists and counts that pages show read no table of the log, of events or of firings as a whole."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import TextClause, text

from decisioning.evaluation.store_comparison import _BY_GROUP, _BY_INDEX
from decisioning.reporting.recent.store_newest import _NEWEST
from decisioning.reporting.store_event_report import _COUNTS as EVENT_COUNTS
from decisioning.triggers.store_delivery import _COUNTS as FIRING_COUNTS
from storage import clock
from tests.support.api import Nextbest

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = clock.to_datetime(clock.now_ms())
SPAN = {"start": clock.to_datetime(0), "end": NOW, "first": True}


async def plan(
    shop: Nextbest, statement: TextClause, values: Mapping[str, Any], *settings: TextClause
) -> str:
    """The plan of a statement, as if tables were too large to be read as a whole."""
    async with shop.api.state.engine.connect() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        for setting in settings:
            await connection.execute(setting)
        rows = await connection.scalars(text(f"EXPLAIN {statement.text}"), dict(values))
        return "\n".join(rows)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (EVENT_COUNTS, {"zone": "UTC", "since": NOW, "until": None, "type": None}),
        (FIRING_COUNTS, {"since": NOW, "past": "day over"}),
    ],
)
async def test_counts_read_an_index_alone(
    shop: Nextbest, statement: TextClause, values: Mapping[str, Any]
) -> None:
    found = await plan(shop, statement, values)
    assert "Index Only Scan" in found
    assert "Seq Scan" not in found


async def test_the_newest_decisions_are_read_in_their_order(shop: Nextbest) -> None:
    values = {"placements": ["home", "branch"], "size": 10}
    found = await plan(shop, _NEWEST, values)
    assert "placement_decided_at_decision_id_idx" in found
    assert "Presorted Key: of_placement.decided_at" in found
    by_group = await plan(shop, text(_BY_GROUP), SPAN | {"placement": "home", "limit": 10}, *_BY_INDEX)
    assert "Index Scan Backward" in by_group
    assert "Sort Key: d.decided_at" not in by_group.partition("Merge Append")[0]
