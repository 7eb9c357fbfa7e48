"""Conditions that are evaluated without a context of CEL mean what CEL says, whatever is missing."""

from datetime import UTC, datetime
from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.evaluation import RuleSet, evaluate
from rules.evaluators import PRESENT
from rules.expression import Checker
from rules.vocabulary import Attribute, AttributeType, Vocabulary

TYPES: dict[str, AttributeType] = {
    "context.age": "int",
    "context.spend": "number",
    "context.vip": "bool",
    "context.name": "string",
    "context.pages": "list",
    "context.since": "timestamp",
    "offer.price": "number",
}
VOCABULARY = Vocabulary.of([Attribute(path, type_) for path, type_ in TYPES.items()])
CHECKER = Checker(VOCABULARY, ("grown",))
NOW = datetime(2026, 5, 1, tzinfo=UTC)
TEXTS = ("", "x", "Málaga", "日本", "😀")
TERMS = (
    *(
        f"context.age {sign} {number}"
        for sign in ("==", "!=", "<", "<=", ">", ">=")
        for number in (-1, 0, 18)
    ),
    *(f"18 {sign} context.age" for sign in ("==", "<", "<=", ">", ">=")),
    *(f"context.spend {sign} 1.5" for sign in ("==", "!=", "<", "<=", ">", ">=")),
    *(f"context.name {sign} 'Málaga'" for sign in ("==", "!=", "<", "<=", ">", ">=")),
    *("context.vip", "!context.vip", "context.vip == true", "false != context.vip", "true", "segment.grown"),
    *(f"has({path})" for path in TYPES if path.startswith("context")),
    *("context.name in ['x', '日本']", "context.name in []", "'😀' in context.pages"),
)
conditions = st.recursive(
    st.sampled_from(TERMS),
    lambda inner: st.one_of(
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.lists(inner, min_size=2, max_size=5).map(" && ".join),
    ),
    max_leaves=8,
)
values_by_path = st.fixed_dictionaries(
    {"segment.grown": st.booleans()},
    optional={
        "context.age": st.integers(-2, 20) | st.integers(-(2**63) + 1, 2**63 - 1),
        "context.spend": st.sampled_from([0.0, 1.5, -2.5, 1e300]),
        "context.vip": st.booleans(),
        "context.name": st.sampled_from(TEXTS),
        "context.pages": st.lists(st.sampled_from(TEXTS), max_size=3),
        "context.since": st.just(NOW),
    },
)


def told_by_cel(source: str, values: dict[str, Any]) -> bool | None:
    """The opinion of the evaluator in Rust; ``None`` if it says that something is missing."""
    roots: dict[str, dict[str, Any]] = {"context": {}, "segment": {}}
    for path, value in values.items():
        root, _, name = path.partition(".")
        roots[root][name] = value
    try:
        found = cel.compile(source).execute(cel.Context(roots))
    except KeyError:
        return None
    assert isinstance(found, bool)
    return found


@given(conditions, values_by_path)
def test_a_condition_means_what_cel_says_and_is_undecided_where_cel_misses_something(
    source: str, values: dict[str, Any]
) -> None:
    direct = CHECKER.check_new(source).direct
    assert direct is not None
    assert direct(values) is told_by_cel(source, values)


@pytest.mark.parametrize(
    "source",
    [
        "context.age + 1 > 3",
        "context.age > 3 && context.name.startsWith('x')",
        "context.since < now",
        "context.age in [1, 2]",
        "context.age > 3 ? context.vip : false",
        "context.name == context.name",
        "context.pages == ['x']",
        "!(context.pages.exists(p, p == 'x'))",
        "offer.price > 3.0 || context.vip",
    ],
)
def test_other_conditions_are_left_to_cel(source: str) -> None:
    assert CHECKER.check_new(source).direct is None


def test_numbers_are_left_to_cel() -> None:
    assert CHECKER.check_new("context.spend", "number").direct is None


def test_tests_for_presence_are_known_by_their_path() -> None:
    direct = CHECKER.check_new("has(context.age) && !has(context.vip)").direct
    assert direct is not None
    assert direct({"context.age": 1}) is True
    assert direct({"context.age": 1, "context.vip": False}) is False
    assert direct({f"{PRESENT}.context.age": True}) is False


def test_no_context_is_made_where_plain_conditions_are_decided() -> None:
    plain, other = CHECKER.check("context.age > 17 && segment.grown"), CHECKER.check("context.age + 1 > 17")
    rules = RuleSet(VOCABULARY, {"grown": CHECKER.check("has(context.vip)")})
    found = evaluate(rules.plan([plain, other]), {"context": {"age": 18, "vip": True}}, NOW)
    assert found.holds(plain)
    assert found._context is None
    assert found.holds(other)
    assert found._context is not None


def test_the_name_of_what_is_missing_is_told_by_cel() -> None:
    source = CHECKER.check("context.age > 17 && context.vip")
    found = evaluate(RuleSet(VOCABULARY, {}).plan([source]), {"context": {"vip": True}}, NOW)
    assert not found.holds(source)
    assert dict(found.missing) == {"age": 1}


def test_segments_that_need_cel_know_those_before_them() -> None:
    checker = Checker(VOCABULARY, ("a", "b", "c"))
    segments = {
        "a": checker.check("context.age + 0 > 17"),
        "b": checker.check("segment.a && context.vip"),
        "c": checker.check("segment.b ? segment.a : context.age * 1 > 100"),
    }
    plan = RuleSet(VOCABULARY, segments).plan([], all_segments=True)
    assert evaluate(plan, {"context": {"age": 18, "vip": True}}, NOW).segments == ("a", "b", "c")
    assert evaluate(plan, {"context": {"age": 18, "vip": False}}, NOW).segments == ("a",)
