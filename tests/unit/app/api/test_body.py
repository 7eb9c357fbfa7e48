"""Bodies are JSON, and say so."""

import pytest

from app.api.body import is_json


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        *((name, True) for name in ("application/json", "Application/JSON ;charset=x", "application/a+json")),
        *((name, False) for name in ("", "text/json", "application/jsonx", "json", "x/y+json", "*/*")),
    ],
)
def test_content_types(content_type: str, expected: bool) -> None:
    assert is_json(content_type) == expected
