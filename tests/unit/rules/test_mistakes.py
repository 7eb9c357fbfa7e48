"""Words and signs of other languages are answered with the expression as it is written in CEL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.errors import RuleError
from rules.expression import Checker
from rules.mistakes import SYNTAX, mend
from rules.vocabulary import Attribute, Vocabulary

CHECKER = Checker(
    Vocabulary.of((
        Attribute("customer.age", "number"),
        Attribute("customer.vip", "bool"),
        Attribute("customer.plan", "string"),
        Attribute("customer.tags", "list"),
    ))
)  # fmt: skip

# What is written, line and column of the mistake, and what it should be.
CORRECTED = {
    "customer.age > 30.0 AND customer.vip": (1, 21, "customer.age > 30.0 && customer.vip"),
    "customer.vip\n  or customer.age > 3.0": (2, 3, "customer.vip\n  || customer.age > 3.0"),
    "NOT customer.vip": (1, 1, "!customer.vip"),
    "not customer.age > 3 and customer.vip": (1, 1, "!(customer.age > 3.0) && customer.vip"),
    "not (customer.vip or customer.vip)": (1, 1, "!(customer.vip || customer.vip)"),
    "customer.plan NOT IN ('a', 'b')": (1, 15, "!(customer.plan in ['a', 'b'])"),
    "customer.plan = 'gold'": (1, 15, "customer.plan == 'gold'"),
    "customer.plan === 'gold'": (1, 15, "customer.plan == 'gold'"),
    "customer.plan <> 'gold'": (1, 15, "customer.plan != 'gold'"),
    "customer.age => 18": (1, 14, "customer.age >= 18.0"),
    "customer.age ≤ 18": (1, 14, "customer.age <= 18.0"),
    "customer.vip & customer.vip": (1, 14, "customer.vip && customer.vip"),
    "customer.vip | customer.vip": (1, 14, "customer.vip || customer.vip"),
    "customer.age between 30 and 40": (1, 14, "(customer.age >= 30.0 && customer.age <= 40.0)"),
    "customer.age NOT BETWEEN 3 AND 4 AND customer.vip": (
        1,
        14,
        "!(customer.age >= 3.0 && customer.age <= 4.0) && customer.vip",
    ),
    "customer.plan in ('a','b')": (1, 18, "customer.plan in ['a','b']"),
    "customer.plan IN ['a']": (1, 15, "customer.plan in ['a']"),
    "customer.plan is null": (1, 15, "!has(customer.plan)"),
    "customer.plan IS NOT NULL": (1, 15, "has(customer.plan)"),
    "customer.plan == null": (1, 15, "!has(customer.plan)"),
    "customer.plan like '%gold%'": (1, 15, "customer.plan.contains('gold')"),
    "customer.plan like 'gold%'": (1, 15, "customer.plan.startsWith('gold')"),
    "customer.plan NOT LIKE '%gold'": (1, 15, "!customer.plan.endsWith('gold')"),
    "customer.plan like 'g_ld'": (1, 15, "customer.plan.matches('^g.ld$')"),
    "customer.plan like 'gold'": (1, 15, "customer.plan == 'gold'"),
    "customer.plan contains 'gold'": (1, 15, "customer.plan.contains('gold')"),
    "customer.vip;": (1, 13, "customer.vip"),
    "customer.plan == ‘gold’": (1, 18, "customer.plan == 'gold'"),
    "customer.plan == “it's”": (1, 18, 'customer.plan == "it\'s"'),
    "customer.plan == 'it''s'": (1, 18, 'customer.plan == "it\'s"'),
    "customer.plan == 'it's' and customer.tags.exists(t, t == 'b')": (
        1,
        18,
        "customer.plan == \"it's\" && customer.tags.exists(t, t == 'b')",
    ),
    "customer.age > 30%": (1, 16, "customer.age > 0.3"),
    "customer.age > 12.5% AND customer.vip": (1, 16, "customer.age > 0.125 && customer.vip"),
    "IF customer.vip THEN customer.age > 3": (1, 1, "!(customer.vip) || (customer.age > 3.0)"),
    "if customer.age > 30 and customer.vip then customer.plan = 'a' else customer.plan = 'b'": (
        1,
        1,
        "(customer.age > 30.0 && customer.vip) ? (customer.plan == 'a') : (customer.plan == 'b')",
    ),
    "customer.age >= 18,5": (1, 19, "customer.age >= 18.5"),
    "18 < customer.age < 30": (1, 19, "18.0 < customer.age && customer.age < 30.0"),
    "customer.plan = 'x AND y' and age = 3": (1, 15, "customer.plan == 'x AND y' && customer.age == 3.0"),
}


@pytest.mark.parametrize("source", CORRECTED)
def test_words_and_signs_of_other_languages_are_corrected(source: str) -> None:
    line, column, corrected = CORRECTED[source]
    with pytest.raises(RuleError) as caught:
        CHECKER.check_new(source)
    error = caught.value
    assert (error.line, error.column, error.suggestion) == (line, column, f"write {corrected}")
    CHECKER.check_new(corrected)


@pytest.mark.parametrize(
    "source",
    [
        "customer.plan == 'AND = OR <> between like'",
        "customer.tags.exists(and, and == 'x')",
        "customer.plan == '“quoted”' // customer.plan = 'x' AND y",
    ],
)
def test_what_can_be_read_is_left_alone(source: str) -> None:
    assert CHECKER.check_new(source).source == source


def test_what_cannot_be_corrected_as_a_whole_still_says_what_to_write_first() -> None:
    with pytest.raises(RuleError) as caught:
        CHECKER.check_new("customer.nothing_of_it AND customer.vip")
    assert (caught.value.column, caught.value.suggestion) == (24, "write &&")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("customer.vip &&", "it ends too early"),
        ("(customer.vip", "a ) is missing"),
        ("customer.vip)", "extraneous input ')'"),
    ],
)
def test_the_parser_complains_without_its_grammar(source: str, message: str) -> None:
    with pytest.raises(RuleError, match="Syntax error") as caught:
        CHECKER.check_new(source)
    assert caught.value.message == f"Syntax error: {message}"


PIECES = (
    "AND",
    "not",
    "between",
    "in",
    "(",
    ")",
    "[",
    "'a'",
    "‘",
    "'",
    "=",
    "1",
    ",",
    "customer.age",
    "is",
    "null",
    ";",
)


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)))
def test_anything_may_be_sent(source: str) -> None:
    mend(source, SYNTAX)
    try:
        CHECKER.check_new(source)
    except RuleError:
        return
