"""Contexts of requests: those that cannot be logged are refused."""

from typing import Any

import pytest

from app.api.decisions.schemas import check_context


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"a": float("nan")}, "finite"),
        ({"a": [{"b": float("-inf")}]}, "finite"),
        ({"a\x00": 1}, "NUL"),
        ({"a": ["\x00"]}, "NUL"),
        ({"a": {"b": "\ud800"}}, "surrogate"),
    ],
)
def test_contexts_that_cannot_be_logged(context: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_context(context, 100, 10)


def test_contexts_that_are_too_large_or_too_deep() -> None:
    with pytest.raises(ValueError, match="11 bytes; at most 10"):
        check_context({}, 10, 11)
    deep: Any = 0
    for _ in range(16):
        deep = {"a": deep}
    check_context(deep, 10, 10)
    with pytest.raises(ValueError, match="16 levels"):
        check_context({"a": deep}, 10, 10)
