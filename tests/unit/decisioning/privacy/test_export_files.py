"""Whether a customer is in the files of an export."""

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from decisioning.privacy.export_files import is_in_files, remove_files


def write(folder: Path, kind: str, name: str, content: pa.Table | str) -> None:
    day = folder / kind / "day=2026-01-01"
    day.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        (day / name).write_text(content)
    else:
        pq.write_table(content, day / name)


@pytest.mark.parametrize("kind", ["decisions", "features", "customers"])
def test_rows_are_found_by_the_customer(tmp_path: Path, kind: str) -> None:
    write(tmp_path, kind, "part-0000.parquet", pa.table({"customer_id": ["you"]}))
    assert not is_in_files(tmp_path, kind, ["me"], {"one"})
    write(tmp_path, kind, "part-0001.parquet", pa.table({"customer_id": ["you", "me"]}))
    assert is_in_files(tmp_path, kind, ["me"], set())


def test_outcomes_are_found_by_the_decision(tmp_path: Path) -> None:
    write(tmp_path, "outcomes", "part-0000.parquet", pa.table({"decision_id": ["one"]}))
    assert is_in_files(tmp_path, "outcomes", ["me"], {"one", "two"})
    assert not is_in_files(tmp_path, "outcomes", ["me"], {"two"})


def test_lines_are_found_by_the_event(tmp_path: Path) -> None:
    write(tmp_path, "decisions", "part-0000.dsjson", '{"EventId": "one:2"}\n{"EventId": "a:b"}\n')
    assert is_in_files(tmp_path, "decisions", ["me"], {"one"})
    assert is_in_files(tmp_path, "decisions", ["me"], {"a:b"})
    assert not is_in_files(tmp_path, "decisions", ["me"], {"b", "one:3"})


def test_arms_are_nobody_s_and_an_export_without_files_has_nobody(tmp_path: Path) -> None:
    write(tmp_path, "arms", "part-0000.parquet", pa.table({"customer_id": ["me"]}))
    assert not is_in_files(tmp_path, "arms", ["me"], set())
    (tmp_path / "customers").mkdir()
    assert not is_in_files(tmp_path, "customers", ["me"], set())


def test_a_folder_that_is_not_here_may_have_anybody(tmp_path: Path) -> None:
    assert is_in_files(tmp_path, "customers", ["me"], set())
    assert is_in_files(tmp_path / "elsewhere", "outcomes", ["me"], {"one"})
    assert not is_in_files(tmp_path / "elsewhere", "arms", ["me"], set())


def test_aliases_are_looked_for_with_the_customer(tmp_path: Path) -> None:
    write(tmp_path, "features", "part-0000.parquet", pa.table({"customer_id": ["visitor:1", "you"]}))
    assert is_in_files(tmp_path, "features", ["visitor:1", "me"], set())
    assert not is_in_files(tmp_path, "features", ["visitor:2", "me"], set())


@pytest.mark.parametrize("closed", ["customers", "day=2026-01-01"])
def test_a_folder_that_may_not_be_listed_may_have_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    write(tmp_path, "customers", "part-0000.parquet", pa.table({"customer_id": ["you"]}))
    assert not is_in_files(tmp_path, "customers", ["me"], set())
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == closed:
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert is_in_files(tmp_path, "customers", ["me"], set())


def test_a_part_that_was_cut_off_may_have_anybody(tmp_path: Path) -> None:
    write(tmp_path, "customers", "part-0000.parquet", pa.table({"customer_id": ["you"]}))
    assert not is_in_files(tmp_path, "customers", ["me"], set())
    write(tmp_path, "customers", ".part-0001.parquet.tmp", "PAR1 and no end")
    assert is_in_files(tmp_path, "customers", ["me"], set())


def test_files_that_cannot_be_removed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remove_files(tmp_path / "ex-elsewhere")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "not yours")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    remove_files(tmp_path / "ex-others")
    assert "ex-elsewhere is not here" in caplog.text
    assert "ex-others is not removed yet, workers try again: not yours" in caplog.text


def test_a_file_that_cannot_be_read_may_have_anybody(tmp_path: Path) -> None:
    write(tmp_path, "customers", "part-0000.parquet", "no parquet")
    assert is_in_files(tmp_path, "customers", ["me"], set())
