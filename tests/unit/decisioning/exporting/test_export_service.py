"""Exports: a folder for each day, in parts; what was cut off goes on, in memory that does not grow with the log."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from decisioning.errors import Conflict, Invalid
from decisioning.exporting.day_files import load_notes, only_one, save_notes
from decisioning.exporting.export_service import Batch, Exported, ExportRequest, export
from storage.clock import to_ms

DAYS = [date(2026, 1, 30), date(2026, 1, 31)]
NOW_MS = to_ms(datetime(2026, 3, 1, tzinfo=UTC))
ROWS = 250
FACTS = ExportRequest("features")


class Cut(Exception):
    """The process ends here."""


class Made:
    """A source of ``ROWS`` facts a day, in batches of 10. ``cut``: rows after which it fails."""

    settles = True

    def __init__(self, *, cut: int | None = None, still_open: int = 0) -> None:
        self.cut, self.open = cut, still_open
        self.read: list[int] = []

    async def days(self, since: date | None, until: date | None) -> list[date]:
        return [d for d in DAYS if (since is None or d >= since) and (until is None or d < until)]

    async def still_open(self, day: date) -> int:
        return self.open

    async def batches(self, day: date, after: list[str] | None) -> AsyncIterator[Batch]:
        start = 0 if after is None else int(after[0]) + 1
        for first in range(start, ROWS, 10):
            numbers = range(first, min(first + 10, ROWS))
            self.read += numbers
            if self.cut is not None and len(self.read) > self.cut:
                raise Cut
            yield Batch([fact(n) for n in numbers], [str(numbers[-1])])


def fact(number: int) -> dict[str, Any]:
    """One row."""
    return {
        "decision_id": f"d{number}",
        "decided_at": NOW_MS,
        "path": "customer.age",
        "number": float(number),
    }


async def run(folder: Path, source: Made, request: ExportRequest = FACTS) -> Exported:
    """Export in small row groups and parts."""
    return await export(request, source, folder, NOW_MS, row_group=20, part_rows=100)


def numbers_in(folder: Path, day: date) -> list[float]:
    """The rows of a day, in the order of its files."""
    files = sorted((folder / "features" / f"day={day}").glob("part-*.parquet"))
    return [n for file in files for n in pq.read_table(file).column("number").to_pylist()]


def parts_in(folder: Path) -> dict[Path, int]:
    """Finished files, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("part-*")}


def hidden(folder: Path) -> Sequence[Path]:
    """Temporary files that were left."""
    return list(folder.rglob("*.tmp"))


async def test_a_day_is_a_folder_of_parts_with_row_groups_of_bounded_size(tmp_path: Path) -> None:
    done = await run(tmp_path, Made())
    assert done == Exported(days=2, kept=0, rows=2 * ROWS, open=0)
    for day in DAYS:
        assert numbers_in(tmp_path, day) == list(range(ROWS))
    files = sorted((tmp_path / "features" / f"day={DAYS[0]}").glob("part-*"))
    assert [file.name for file in files] == [f"part-000{n}.parquet" for n in range(3)]
    first = pq.ParquetFile(files[0])
    assert {first.metadata.row_group(n).num_rows for n in range(first.metadata.num_row_groups)} == {20}
    assert hidden(tmp_path) == []


async def test_the_whole_folder_is_read_as_one_table(tmp_path: Path) -> None:
    await run(tmp_path, Made())
    whole = pq.read_table(tmp_path / "features")
    assert whole.num_rows == 2 * ROWS
    assert set(whole.column("day").to_pylist()) == {str(day) for day in DAYS}


@pytest.mark.parametrize("cut", [0, 5, 99, 130, 249, 260, 400])
async def test_a_run_that_was_cut_off_is_gone_on_with(tmp_path: Path, cut: int) -> None:
    with pytest.raises(Cut):
        await run(tmp_path, Made(cut=cut))
    finished = parts_in(tmp_path)
    again = Made()
    await run(tmp_path, again)
    for day in DAYS:
        assert numbers_in(tmp_path, day) == list(range(ROWS))
    assert len(again.read) == 2 * ROWS - 100 * len(finished) + 50 * (len(finished) > 2)
    assert finished.items() <= parts_in(tmp_path).items(), "finished parts are kept"
    assert hidden(tmp_path) == []


async def test_a_part_that_was_renamed_but_not_noted_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decisioning.exporting import export_service

    def fails(folder: Path, notes: Any) -> None:
        if notes.parts:
            raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(export_service, "save_notes", fails)
        with pytest.raises(Cut):
            await run(tmp_path, Made())
    assert [path.name for path in parts_in(tmp_path)] == ["part-0000.parquet"]
    await run(tmp_path, Made())
    assert numbers_in(tmp_path, DAYS[0]) == list(range(ROWS))


class Empty(Made):
    """A source of days that have no rows."""

    async def batches(self, day: date, after: list[str] | None) -> AsyncIterator[Batch]:
        if after is not None:
            raise AssertionError(f"there is no row to go on after, but the key is {after}")
        nothing: list[Batch] = []
        for batch in nothing:
            yield batch


async def test_a_day_without_rows_that_was_cut_off_before_it_was_complete_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decisioning.exporting import export_service

    def fails(folder: Path, notes: Any) -> None:
        if notes.complete:
            raise Cut
        save_notes(folder, notes)

    with monkeypatch.context() as patched:
        patched.setattr(export_service, "save_notes", fails)
        with pytest.raises(Cut):
            await run(tmp_path, Empty())
    assert await run(tmp_path, Empty()) == Exported(days=2)
    await run(tmp_path, Empty())
    assert [path.name for path in parts_in(tmp_path)] == ["part-0000.parquet"] * 2


async def test_settled_days_are_kept_and_days_that_can_change_are_written_anew(tmp_path: Path) -> None:
    await run(tmp_path, Made())
    again = Made()
    assert (await run(tmp_path, again)).kept == 2
    assert again.read == []
    forced = Made()
    assert (await run(tmp_path, forced, ExportRequest("features", again=True))).kept == 0
    assert len(forced.read) == 2 * ROWS

    other = tmp_path / "open"
    assert (await run(other, Made(still_open=3))).open == 6
    later = Made()
    assert (await run(other, later)).kept == 0
    assert len(later.read) == 2 * ROWS
    assert numbers_in(other, DAYS[0]) == list(range(ROWS))


async def test_written_again_nothing_of_before_is_left(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        await run(tmp_path, Made(cut=150))
    (tmp_path / "features" / f"day={DAYS[0]}" / ".part-0009.parquet.tmp").write_text("cut off")
    stale, far, other = (
        tmp_path / "features" / name for name in ("day=2020-01-01", "day=2019-01-01", "day=x")
    )
    for folder in (stale, far, other):
        folder.mkdir(parents=True)
        (folder / "part-0000.parquet").write_text("of before")
    again = Made()
    await run(tmp_path, again, ExportRequest("features", since=date(2020, 1, 1), again=True))
    assert len(again.read) == 2 * ROWS, "it does not go on behind what was written before"
    assert not stale.exists()
    assert [(folder / "part-0000.parquet").exists() for folder in (far, other)] == [True, True]
    assert hidden(tmp_path) == []


async def test_what_never_settles_is_always_written_anew(tmp_path: Path) -> None:
    source = Made()
    source.settles = False
    await run(tmp_path, source)
    again = Made()
    assert (await run(tmp_path, again)).kept == 0
    assert len(again.read) == 2 * ROWS


async def test_two_exports_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with only_one(tmp_path / "features"), pytest.raises(Conflict, match="another export is writing"):
        await run(tmp_path, Made())
    assert (await run(tmp_path, Made())).rows == 2 * ROWS


async def test_a_day_that_is_not_over_is_not_settled(tmp_path: Path) -> None:
    at_noon = to_ms(datetime(2026, 1, 31, 12, tzinfo=UTC))
    await export(FACTS, Made(), tmp_path, at_noon)
    settled = [load_notes(tmp_path / "features" / f"day={day}") for day in DAYS]
    assert [notes is not None and notes.settled for notes in settled] == [True, False]


async def test_days_are_chosen(tmp_path: Path) -> None:
    done = await run(tmp_path, Made(), ExportRequest("features", since=DAYS[1]))
    assert (done.days, numbers_in(tmp_path, DAYS[0])) == (1, [])
    assert (await run(tmp_path, Made(), ExportRequest("features", until=DAYS[1]))).days == 1


async def test_a_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    class Empty(Made):
        async def batches(self, day: date, after: list[str] | None) -> AsyncIterator[Batch]:
            return
            yield

    await export(ExportRequest("decisions"), Empty(), tmp_path, NOW_MS)
    with pytest.raises(Conflict, match="use another folder"):
        await export(ExportRequest("decisions", format="dsjson"), Empty(), tmp_path, NOW_MS)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ExportRequest("outcomes", format="dsjson"), "format"),
        (ExportRequest("decisions", DAYS[1], DAYS[1]), "until"),
        (ExportRequest("arms", since=DAYS[0]), "since"),
        (ExportRequest("nonsense"), "kind"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_go_together_is_refused(request_: ExportRequest, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        request_.check()
    assert caught.value.field == field


async def test_memory_does_not_grow_with_the_day(tmp_path: Path) -> None:
    """Never more rows wait than make a row group, and a batch."""
    from decisioning.exporting.export_service import _DayWriter

    most = 0
    add = _DayWriter.add

    def watched(self: _DayWriter, batch: Batch) -> None:
        nonlocal most
        add(self, batch)
        most = max(most, len(self._waiting))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_DayWriter, "add", watched)
        await run(tmp_path, Made())
    assert 0 < most < 20
