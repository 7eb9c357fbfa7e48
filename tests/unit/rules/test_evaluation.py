"""The meaning of conditions, above all when something is missing."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.evaluation import Evaluation, Plan, RuleSet, SegmentCycle, evaluate
from rules.expression import Checker, Expression
from rules.vocabulary import Attribute, Vocabulary

VOCABULARY = Vocabulary.of(
    [
        Attribute("customer.age", "int"),
        Attribute("customer.spend", "number"),
        Attribute("customer.vip", "bool"),
        Attribute("customer.name", "string"),
        Attribute("customer.since", "timestamp"),
        Attribute("customer.interests.coffee", "number"),
        Attribute("context.pages", "list"),
    ]
)
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CHECKER = Checker(VOCABULARY, ("grown", "rich"))
SEGMENTS = {
    "grown": CHECKER.check("customer.age > 17"),
    "rich": CHECKER.check("segment.grown && customer.spend > 100.0"),
}
RULES = RuleSet(VOCABULARY, SEGMENTS)


def evaluation(
    source: str, customer: dict[str, Any], context: dict[str, Any] | None = None
) -> tuple[Evaluation, Expression]:
    expression = CHECKER.check(source)
    plan = RULES.plan([expression])
    return evaluate(plan, {"customer": customer, "context": context or {}}, NOW), expression


def holds(source: str, customer: dict[str, Any], context: dict[str, Any] | None = None) -> bool:
    found, expression = evaluation(source, customer, context)
    return found.holds(expression)


@pytest.mark.parametrize(
    ("source", "customer", "expected"),
    [
        ("customer.age > 30", {"age": 31}, True),
        ("customer.age > 30", {"age": 31.0}, True),
        ("customer.age > 30", {"age": 30.5}, False),  # not a whole number: as if missing
        ("customer.age > 30", {"age": "31"}, False),
        ("customer.age > 30", {"age": True}, False),
        ("customer.age > 30", {}, False),
        ("!(customer.age > 30)", {}, False),
        ("customer.age > 30 || true", {}, True),
        ("has(customer.age)", {}, False),
        ("has(customer.age)", {"age": 1}, True),
        ("!has(customer.age)", {}, True),
        ("customer.spend > 1.5", {"spend": 2}, True),
        ("customer.spend / 0.0 > 1.0", {"spend": 2}, True),
        ("customer.age / 0 > 1", {"age": 2}, False),
        ("customer.vip", {"vip": True}, True),
        ("customer.vip", {"vip": 1}, False),
        ("customer.name.startsWith('A')", {"name": "Ada"}, True),
        ("now > customer.since", {"since": "2026-01-01T00:00:00Z"}, True),
        ("now > customer.since", {"since": "2026-01-01"}, True),
        ("now > customer.since", {"since": "yesterday"}, False),
        ("customer.interests.coffee > 0.5", {"interests": {"coffee": 0.8}}, True),
        ("customer.interests.coffee > 0.5", {"interests": {}}, False),
        ("customer.interests.coffee > 0.5", {"interests": "coffee"}, False),
        ("segment.rich", {"age": 20, "spend": 101.0}, True),
        ("segment.rich", {"age": 17, "spend": 101.0}, False),
        ("segment.rich", {"spend": 101.0}, False),
        ("!segment.rich", {}, True),  # a segment is true or false, never missing
    ],
)
def test_conditions(source: str, customer: dict[str, Any], expected: bool) -> None:
    assert holds(source, customer) is expected


def test_lists_hold_texts_only() -> None:
    assert holds("'deals' in context.pages", {}, {"pages": ["deals", 3]})
    assert not holds("context.pages.exists(p, p == '3')", {}, {"pages": [3]})
    assert not holds("'deals' in context.pages", {}, {"pages": "deals"})


def test_what_was_missing_is_counted() -> None:
    found, expression = evaluation("customer.age > 30", {})
    assert not found.holds(expression)
    assert not found.holds(expression)  # evaluated once, so counted once
    assert dict(found.missing) == {"age": 1}


def test_numbers_are_finite_or_nothing() -> None:
    half = CHECKER.check("customer.spend * 0.5", "number")
    found = evaluate(RULES.plan([half]), {"customer": {"spend": 3}, "context": {}}, NOW)
    assert found.number(half) == 1.5
    infinite = CHECKER.check("customer.spend / 0.0", "number")
    found = evaluate(RULES.plan([infinite]), {"customer": {"spend": 3}, "context": {}}, NOW)
    assert found.number(infinite) is None
    assert evaluate(RULES.plan([half]), {"customer": {}, "context": {}}, NOW).number(half) is None


def test_only_what_is_referred_to_is_put_into_the_context() -> None:
    plan: Plan = RULES.plan([CHECKER.check("segment.rich")])
    assert [path for path, _, _ in plan.places] == ["customer.age", "customer.spend"]
    found = evaluate(plan, {"customer": {"age": 3, "name": "Ada"}, "context": {"x": 1}}, NOW)
    assert found.context.variables["customer"] == {"age": 3}


def test_segments_in_a_circle_are_refused() -> None:
    checker = Checker(VOCABULARY, ("a", "b"))
    circle = {"a": checker.check("segment.b"), "b": checker.check("!segment.a")}
    with pytest.raises(SegmentCycle, match="a -> b -> a"):
        RuleSet(VOCABULARY, circle)


@given(
    age=st.none() | st.integers(-5, 120),
    spend=st.none() | st.floats(-10, 1000),
    limit=st.integers(0, 100),
)
def test_a_condition_is_what_plain_python_says(age: int | None, spend: float | None, limit: int) -> None:
    customer = {k: v for k, v in (("age", age), ("spend", spend)) if v is not None}
    both = age is not None and spend is not None
    expected = both and age is not None and spend is not None and age > limit and spend <= 500.0
    assert holds(f"customer.age > {limit} && customer.spend <= 500.0", customer) is bool(expected)
    either = (age is not None and age > limit) or (spend is not None and spend <= 500.0)
    assert holds(f"customer.age > {limit} || customer.spend <= 500.0", customer) is either


def test_what_depends_on_the_customer_alone_need_not_be_found_out_twice() -> None:
    lasting, passing = (
        CHECKER.check("segment.rich"),
        CHECKER.check("'deals' in context.pages && segment.grown"),
    )
    plan = RULES.plan([lasting, passing], all_segments=True)
    assert {e.source for e in plan.lasting} == {lasting.source, "customer.age > 17", SEGMENTS["rich"].source}
    customer = {"age": 20, "spend": 101.0}
    first = evaluate(plan, {"customer": customer, "context": {"pages": ["deals"]}}, NOW)
    assert first.segments == ("grown", "rich")
    known = first.lasting(plan)
    again = evaluate(
        plan, {"customer": {}, "context": {"pages": ["deals"]}}, NOW, known
    )  # not looked at again
    assert again.context.variables["customer"] == {}
    assert (again.holds(lasting), again.holds(passing), again.segments) == (True, True, ("grown", "rich"))
    other = evaluate(plan, {"customer": customer, "context": {"pages": []}}, NOW, known)
    assert (other.holds(lasting), other.holds(passing)) == (True, False)


@given(
    age=st.none() | st.integers(0, 40),
    spend=st.none() | st.floats(0, 200),
    pages=st.lists(st.sampled_from(["a", "b"])),
)
def test_known_results_are_those_that_would_be_found(
    age: int | None, spend: float | None, pages: list[str]
) -> None:
    sources = (
        "segment.rich",
        "customer.age > 30",
        "'a' in context.pages && segment.grown",
        "now > customer.since",
    )
    expressions = [CHECKER.check(source) for source in sources]
    plan = RULES.plan(expressions, all_segments=True)
    facts: dict[str, dict[str, Any]] = {
        "customer": {k: v for k, v in (("age", age), ("spend", spend)) if v is not None},
        "context": {"pages": pages},
    }
    fresh = evaluate(plan, facts, NOW)
    again = evaluate(plan, facts, NOW, fresh.lasting(plan))
    assert [again.holds(e) for e in expressions] == [fresh.holds(e) for e in expressions]
    assert again.segments == fresh.segments
