"""Names without their root, texts without quotes, and values of another type are answered with what is meant."""

import pytest

from rules.errors import RuleError
from rules.expression import Checker
from rules.mistaken_names import Names
from rules.vocabulary import Attribute, Vocabulary

VOCABULARY = Vocabulary.of((
    Attribute("customer.age", "number"),
    Attribute("customer.children", "int"),
    Attribute("customer.vip", "bool"),
    Attribute("customer.plan", "string"),
    Attribute("customer.city", "string", values=("north", "south")),
    Attribute("customer.since", "timestamp"),
    Attribute("customer.tags", "list"),
    Attribute("context.mood", "string"),
))  # fmt: skip
SEGMENTS = ("grown", "rich")
CHECKER = Checker(VOCABULARY, SEGMENTS)

CORRECTED = {
    "age > 30": (1, 1, "customer.age > 30.0"),
    "vip": (1, 1, "customer.vip"),
    "mood == 'good'": (1, 1, "context.mood == 'good'"),
    "grown": (1, 1, "segment.grown"),
    "segment.grwn": (1, 1, "segment.grown"),
    "has(age)": (1, 5, "has(customer.age)"),
    "Customer.Age > 3.0": (1, 1, "customer.age > 3.0"),
    "context.age > 3.0": (1, 1, "customer.age > 3.0"),
    "offer.grup == 'a'": (1, 1, "offer.group == 'a'"),
    "'fibra' in holdings": (1, 12, "'fibra' in customer.holdings"),
    "'fibra' in context.holdings": (1, 12, "'fibra' in customer.holdings"),
    "'fibra' in customer.holding": (1, 12, "'fibra' in customer.holdings"),
    "'fibra' in customer": (1, 12, "'fibra' in customer.holdings"),
    "'fibra' in 'holdings'": (1, 9, "'fibra' in customer.holdings"),
    "'fibra' in 'customer.holdings'": (1, 9, "'fibra' in customer.holdings"),
    "customer.holdings == 'fibra'": (1, 19, "'fibra' in customer.holdings"),
    "customer.holdings != 'fibra'": (1, 19, "!('fibra' in customer.holdings)"),
    "customer.holdings.contains('fibra')": (1, 27, "'fibra' in customer.holdings"),
    "customer.holdings contains 'fibra'": (1, 19, "'fibra' in customer.holdings"),
    "customer.holdings in ['fibra']": (1, 19, "customer.holdings.exists(x, x in ['fibra'])"),
    "customer['age'] > 3.0": (1, 1, "customer.age > 3.0"),
    "customer.city == north": (1, 18, "customer.city == 'north'"),
    "customer.plan == gold": (1, 18, "customer.plan == 'gold'"),
    "customer.plan == 5": (1, 15, "customer.plan == '5'"),
    "customer.vip == TRUE": (1, 17, "customer.vip == true"),
    "customer.vip == 'true'": (1, 14, "customer.vip == true"),
    "customer.vip == 1": (1, 14, "customer.vip == true"),
    "customer.age > 30": (1, 14, "customer.age > 30.0"),
    "customer.age > -30": (1, 14, "customer.age > -30.0"),
    "customer.age == '30'": (1, 14, "customer.age == 30.0"),
    "customer.children == 2.0": (1, 19, "customer.children == 2"),
    "customer.children > 2.5": (1, 19, "double(customer.children) > 2.5"),
    "customer.since > '2024-01-01'": (1, 16, "customer.since > timestamp('2024-01-01T00:00:00Z')"),
    "now() > customer.since": (1, 1, "now > customer.since"),
    "len(customer.plan) > 3": (1, 1, "size(customer.plan) > 3"),
    "customer.plan.startswith('a')": (1, 1, "customer.plan.startsWith('a')"),
    "customer.tags.exists(t, t == 'x') && vip": (1, 38, "customer.tags.exists(t, t == 'x') && customer.vip"),
}


@pytest.mark.parametrize("source", CORRECTED)
def test_a_name_or_value_is_corrected(source: str) -> None:
    line, column, corrected = CORRECTED[source]
    with pytest.raises(RuleError) as caught:
        CHECKER.check_new(source)
    error = caught.value
    assert (error.line, error.column, error.suggestion) == (line, column, f"write {corrected}")
    CHECKER.check_new(corrected)


def test_a_name_alone_is_suggested_where_the_expression_is_wrong_otherwise() -> None:
    with pytest.raises(RuleError) as caught:
        CHECKER.check_new("age")
    assert caught.value.suggestion == "did you mean customer.age?"


def test_what_is_like_nothing_gets_no_suggestion() -> None:
    names = Names(VOCABULARY, SEGMENTS)
    assert names.candidates("nothing") == []
    with pytest.raises(RuleError, match="no name or function 'nothing'") as caught:
        CHECKER.check_new("nothing > 3")
    assert caught.value.suggestion is None
