"""JSON Merge Patch, as RFC 7396 has it."""

from typing import Any

import pytest

from app.api.merge_patch import merge
from app.api.removal import confirmed_words


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_are_merged(target: Any, patch: Any, merged: Any) -> None:
    before = repr(target)
    assert merge(target, patch) == merged
    assert repr(target) == before


def test_words_stand_apart_or_between_commas() -> None:
    assert confirmed_words(None) == frozenset()
    assert confirmed_words(["rules, consent", "", "limits,"]) == {"rules", "consent", "limits"}
