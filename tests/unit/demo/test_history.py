"""The history file is in order, complete, and says what it leaves out."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from demo.history import write_history
from demo.journey import CUT_OFF, Floats, Journey
from demo.offers import moved, shift_to
from tests.support.demo_service import TODAY


def test_history_holds_what_it_says(journey: Journey, scores: Floats, tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    counts = write_history(journey, scores, TODAY, path)
    assert (counts.rows, counts.accepted, counts.expired) == (3940, 527, 3413)
    assert (counts.cut_short, counts.too_young, counts.too_young_accepted) == (572, 183, 3)
    assert counts.rows + counts.too_young == 4123
    table = pq.read_table(path)
    rows = table.to_pylist()
    decided = [datetime.fromisoformat(row["decided_at"]) for row in rows]
    occurred = [datetime.fromisoformat(row["occurred_at"]) for row in rows]
    assert decided == sorted(decided)
    assert all(then <= later for then, later in zip(decided, occurred, strict=True))
    assert max(occurred) == datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    assert min(decided) >= moved(CUT_OFF, shift_to(TODAY))
    assert len({(row["customer_id"], row["offer_id"]) for row in rows}) == len(rows) == 3940
    assert {row["offer_id"] for row in rows}.isdisjoint({"campaign-23", "campaign-10"})
    assert all(row["value"] is None for row in rows if row["outcome"] == "expired")
    worth = [row["value"] for row in rows if row["value"] is not None]
    assert len(worth) > 450
    assert min(worth) > 0
    where = {int(number): position for position, number in enumerate(journey.households)}
    for row in rows[::400]:
        who, what = where[int(row["customer_id"].split("-")[1])], int(row["offer_id"].split("-")[1]) - 1
        assert row["propensity"] == scores[who, what]
