"""The classes and functions that a stored model may name, and those that it may not."""

from collections import Counter
from typing import Any

import pytest
from river import stats

from bandits import river_factories
from bandits.errors import StateCodecError
from bandits.river.allowed_names import AllowedNames, is_within


def test_what_is_listed_is_found_under_its_name_and_named_again() -> None:
    names = AllowedNames(["bandits.river_factories"])
    for thing in (stats.Mean, Counter, float, river_factories.LogOdds, river_factories.logistic):
        assert names.find(*names.name(thing)) is thing


@pytest.mark.parametrize(
    ("module", "qualname", "told"),
    [
        ("os", "system", "may not name os.system"),
        ("builtins", "eval", "may not name"),
        ("riverside", "x", "may not name"),
        ("bandits.river_factories", "logistic", "may not name"),
        ("river.stats", "Nothing", "does not exist here"),
        ("river.nothing", "Mean", "does not exist here"),
        ("river.stats", "Mean", "may not name"),  # imported there, and defined elsewhere
        ("river", "stats", "may not name"),
    ],
)
def test_anything_else_is_refused(module: str, qualname: str, told: str) -> None:
    with pytest.raises(StateCodecError, match=told):
        AllowedNames().find(module, qualname)


@pytest.mark.parametrize("thing", [lambda: 1, 7, stats.Mean().update])
def test_what_has_no_name_of_its_own_is_refused(thing: Any) -> None:
    with pytest.raises(StateCodecError):
        AllowedNames().name(thing)


def test_a_module_is_within_itself_and_its_parents_alone() -> None:
    assert is_within("a.b", ["a"])
    assert is_within("a", ["x", "a"])
    assert not is_within("ab", ["a"])
    assert not is_within("a", ["a.b"])
