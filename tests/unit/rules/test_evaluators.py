"""The choice between the evaluators, ``has`` in both, and time zones."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rules.evaluation import RuleSet, evaluate
from rules.evaluators import (
    is_pattern,
    is_zone,
    presence_tests,
    with_presence_variables,
    without_presence_tests,
    zone_like,
)
from rules.expression import Checker
from rules.vocabulary import Attribute, Vocabulary

CHECKER = Checker(
    Vocabulary.of(
        [
            Attribute("customer.name", "string"),
            Attribute("customer.zone", "string"),
            Attribute("customer.since", "timestamp"),
            Attribute("customer.age", "int"),
            Attribute("offer.title", "string"),
            Attribute("offer.margin", "number"),
        ]
    ),
    ("grown",),
)
SUMMER = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
SEGMENTS = {"grown": CHECKER.check("customer.age > 17")}


def holds(source: str, now: datetime = SUMMER, offer: Any = None, **customer: Any) -> bool:
    expression = CHECKER.check_new(source)
    plan = RuleSet(CHECKER.vocabulary, SEGMENTS).plan([expression])
    found = evaluate(plan, {"customer": customer, "context": {}}, now)
    return (found if offer is None else found.with_offer(offer)).holds(expression)


@pytest.mark.parametrize(
    ("source", "simple"),
    [
        ("customer.age > 3 && customer.name == 'x'", True),
        ("customer.name.startsWith('x') || now > customer.since", True),
        ("customer.name in ['a', 'b'] && segment.grown", True),
        ("now.getHours() < 9", True),
        ("has(customer.age)", True),
        ("now.getHours('Europe/Madrid') < 9", False),
        ("size(customer.name) > 3", False),
        ("customer.name.matches('a')", False),
        ("[1, 2].exists(n, n == customer.age)", False),
        ("timestamp('2026-01-01T00:00:00Z') < now", False),
        ("bool('x') || customer.age > 3", False),
    ],
)
def test_simple_expressions_go_to_the_fast_evaluator(source: str, simple: bool) -> None:
    assert CHECKER.check_new(source).simple is simple


def test_characters_are_code_points() -> None:
    assert holds("size(customer.name) == 6", name="Málaga")
    assert holds("size('Málaga') == 6 && customer.name.size() == 2", name="日本")


@pytest.mark.parametrize(
    ("source", "now"),
    [
        ("now.getHours('Europe/Madrid') == 0", SUMMER),
        ("now.getHours('Europe/Madrid') == 23", SUMMER.replace(month=1)),
        ("now.getHours('America/New_York') == 18", SUMMER),
        ("now.getHours('+05:30') == 4", SUMMER),
        ("now.getMinutes('Asia/Kolkata') == 0", SUMMER),
        ("now.getDayOfWeek('Europe/Madrid') == 4", SUMMER),
        ("now.getDayOfMonth('Europe/Madrid') == 1", SUMMER),
        ("now.getDate('Europe/Madrid') == 2", SUMMER),
        ("now.getMonth('Europe/Madrid') == 0", datetime(2026, 12, 31, 23, 30, tzinfo=UTC)),
        ("now.getFullYear('Europe/Madrid') == 2027", datetime(2026, 12, 31, 23, 30, tzinfo=UTC)),
        ("now.getDayOfYear('Europe/Madrid') == 0", datetime(2026, 12, 31, 23, 30, tzinfo=UTC)),
        ("now.getHours('Europe/Madrid') == 3", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        ("now.getHours() == 22", SUMMER),
    ],
)
def test_times_in_a_zone(source: str, now: datetime) -> None:
    assert holds(source, now)


def test_times_of_customers_are_read_in_utc() -> None:
    assert holds("customer.since.getHours() == 10", since="2026-07-05T12:00:00+02:00")
    assert holds("customer.since.getHours('Europe/Madrid') == 12", since="2026-07-05T12:00:00+02:00")


def test_the_zone_of_a_customer() -> None:
    source = "now.getHours(customer.zone) == 0"
    assert holds(source, zone="Europe/Madrid")
    assert not holds(source, zone="Europe/London")
    assert not holds(source, zone="Middle/Earth")
    assert not holds(source)


def test_what_is_missing_is_missing_in_both() -> None:
    assert not holds("size(customer.name) > 0")
    assert holds("size(customer.name) > 0 || true")
    assert holds("!has(customer.name) && size('é') == 1")
    assert holds("has(customer.name) && size(customer.name) == 1", name="é")
    assert not holds("size('é') == 1 && segment.grown", age=3)
    assert holds("size('é') == 1 && segment.grown", age=30)
    expression = CHECKER.check("size(customer.name) > 0")
    found = evaluate(RuleSet(CHECKER.vocabulary, {}).plan([expression]), {"customer": {}}, SUMMER)
    assert not found.holds(expression)
    assert dict(found.missing) == {"name": 1}


def test_an_offer_in_the_reference_implementation() -> None:
    assert holds("size(offer.title) == 1", offer={"title": "é"})
    assert not holds("size(offer.title) == 1", offer={"title": "éé"})
    assert not holds("size(offer.title) == 1", offer={})
    assert holds("offer.margin / 2.0 == 1.5", offer={"margin": 3})


def test_only_has_of_attributes_is_replaced() -> None:
    source = "has( customer.age ) && 'has(customer.age)' == customer.name && has({'a': 1}.a)"
    assert [path for _, _, path in presence_tests(source)] == ["customer.age"]
    assert len(without_presence_tests(source)) == len(source)
    assert with_presence_variables(source).startswith("nb_present.customer.age && 'has(customer.age)' ==")


def test_zones_and_patterns() -> None:
    assert is_zone("Europe/Madrid")
    assert is_zone("+02:00")
    assert not is_zone("")
    assert not is_zone("Europe/Madird")
    assert zone_like("europe/madird") == "Europe/Madrid"
    assert zone_like("???") is None
    assert is_pattern("^a+$")
    assert not is_pattern("(")
