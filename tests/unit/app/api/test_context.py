"""Contexts of requests: what cannot be logged, or is too large for rules, is refused, and its field is named."""

from typing import Any

import pytest

from app.api.context import check_context
from decisioning.errors import Invalid


@pytest.mark.parametrize(
    ("context", "field", "reason"),
    [
        ({"a": float("nan")}, "context", "finite, and context.a is not"),
        ({"a": [{"b": float("-inf")}]}, "context", "finite, and context.a.0.b is not"),
        ({"a\x00": 1}, "context", "NUL"),
        ({"a": ["\x00"]}, "context", "NUL"),
        ({"a": {"b": "\ud800"}}, "context", "surrogate"),
        ({"pages": ["x"] * 201}, "context.pages", "201 items; at most 200"),
        ({"a": {str(i): 1 for i in range(1001)}}, "context.a", "1001 names; at most 1000"),
        ({"a": "é" * 4097}, "context.a", "4097 characters; at most 4096"),
    ],
)
def test_contexts_that_are_refused(context: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as caught:
        check_context(context, 20_000)
    assert caught.value.field == field


def test_contexts_that_are_too_large_or_too_deep() -> None:
    with pytest.raises(Invalid, match="11 bytes; at most 10"):
        check_context({"a": 12345}, 10)
    deep: Any = 0
    for _ in range(16):
        deep = {"a": deep}
    check_context(deep, 1000)
    with pytest.raises(Invalid, match="16 levels"):
        check_context({"a": deep}, 1000)
