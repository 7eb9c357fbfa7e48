"""Formats of files, by the type of their content and by name."""

from pathlib import Path

import pytest

from profiles.errors import ImportFileError
from profiles.importing.source import FileFormat, format_of_content_type, format_of_path


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/csv", "csv"),
        ("Text/CSV; charset=utf-8", "csv"),
        ("application/vnd.apache.parquet", "parquet"),
    ],
)
def test_formats_by_content_type(content_type: str, expected: FileFormat) -> None:
    assert format_of_content_type(content_type) == expected


def test_other_content_types_are_refused() -> None:
    with pytest.raises(ImportFileError, match="send text/csv"):
        format_of_content_type("application/json")


def test_formats_by_name() -> None:
    assert format_of_path(Path("x/a.PQ")) == "parquet"
