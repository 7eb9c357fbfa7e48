"""Expressions are tried on values beyond ASCII when they are saved."""

import pytest

from rules.errors import RuleError
from rules.expression import Checker
from rules.trial import agrees, problem_with_literals
from rules.vocabulary import Attribute, Vocabulary

VOCABULARY = Vocabulary.of(
    [Attribute("customer.name", "string"), Attribute("customer.region", "string", values=("Málaga", "Köln"))]
)
CHECKER = Checker(VOCABULARY)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("customer.name == 'x'", True),
        ("customer.region.startsWith('M')", True),
        ("has(customer.name) && customer.name < 'z'", True),
        ("size(customer.name) == 8", False),  # characters, not bytes: seen beyond ASCII only
        ("customer.name.matches('^\\\\w+ .$')", False),
        ("now.getHours('Europe/Madrid') == 1", False),
    ],
)
def test_where_the_evaluators_differ_is_seen_on_samples(source: str, expected: bool) -> None:
    assert agrees(source, CHECKER.check(source).reference, VOCABULARY) is expected


@pytest.mark.parametrize(
    ("source", "message", "column"),
    [
        ("now.getHours('Mars') < 9", "no time zone 'Mars'", 14),
        ("now.getDate(r'Mars') < 9", "no time zone 'Mars'", 1),
        ("customer.name.matches('[')", "'\\[' is not a pattern", 23),
        ("customer.name.matches('\\\\w(')", "is not a pattern", 1),
        ("matches(customer.name, '*')", "is not a pattern", 24),
    ],
)
def test_literals_that_cannot_work_are_refused(source: str, message: str, column: int) -> None:
    with pytest.raises(RuleError, match=message) as caught:
        CHECKER.check_new(source)
    assert caught.value.column == column


def test_literals_that_work() -> None:
    for source in (
        "now.getHours('+02:00') < 9",
        "customer.name.matches('^a')",
        "customer.name.contains('[')",
    ):
        assert problem_with_literals(source, CHECKER.check(source).tree) is None
