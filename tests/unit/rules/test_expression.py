"""Every mistake in an expression is answered with its place, and with what may have been meant."""

import pytest

from rules.errors import RuleError
from rules.expression import MAX_CHARS, Checker
from rules.vocabulary import Attribute, Vocabulary

ATTRIBUTES = (
    Attribute("customer.age", "int", "years"),
    Attribute("customer.spend", "number", "a month", unit="EUR"),
    Attribute("customer.region", "string", values=("north", "south")),
    Attribute("customer.interests.coffee", "number"),
    Attribute("customer.since", "timestamp"),
    Attribute("context.reason", "string", values=("cancel", "browse")),
    Attribute("context.pages", "list", values=("deals", "help")),
    Attribute("offer.margin", "number"),
)


CHECKER = Checker(Vocabulary.of(ATTRIBUTES), ("vip", "young"))


MISTAKES = {
    "": (1, 1, "is empty", None),
    "   ": (1, 1, "is empty", None),
    "1 +": (1, 4, "Syntax error", None),
    "customer.agee > 3": (1, 1, "no attribute 'customer.agee'", "customer.age"),
    "customer.age >\n  customer.spent": (2, 3, "no attribute 'customer.spent'", "customer.spend"),
    "segment.vipp": (1, 1, "no segment 'vipp'", "segment.vip"),
    "customr.age > 3": (1, 1, "no name or function 'customr.age'", "customer.age"),
    "customer.age > 'x'": (1, 14, "does not go with (int, string)", None),
    "customer.spend > 3": (1, 16, "does not go with (double, int)", "3.0"),
    "customer.spend": (1, 1, "must be true or false; this is a number", None),
    "customer.region": (1, 1, "must be true or false; this is a text", None),
    "customer.region == 'nroth'": (1, 20, "'nroth' is not a value of customer.region", "north"),
    "'nroth' == customer.region": (1, 1, "'nroth' is not a value", "north"),
    "customer.region in ['north', 'suoth']": (1, 30, "'suoth' is not a value", "south"),
    "'deal' in context.pages": (1, 1, "'deal' is not a value of context.pages", "deals"),
    "context.reason != 'cancle'": (1, 19, "'cancle' is not a value", "cancel"),
    "nothing(customer.age)": (1, 1, "no name or function 'nothing'", None),
    "now.getHours('Europe/Madird') < 9": (1, 14, "no time zone 'Europe/Madird'", "Europe/Madrid"),
    "now.getHours('europe/madrid') < 9": (1, 14, "no time zone 'europe/madrid'", "Europe/Madrid"),
    "now.getHours('') < 9": (1, 14, "no time zone ''", None),
    "customer.region.matches('(')": (1, 25, "'(' is not a pattern", None),
    "customer.age > 3 &&": (1, 20, "Syntax error", None),
    "customer.age = 3": (1, 14, "= is not an operator of CEL", "write customer.age == 3"),
    "'a' + 3 == 'a3'": (1, 5, "does not go with (string, int)", None),
    "has(customer.nope)": (1, 5, "no attribute 'customer.nope'", None),
    "true\x00": (1, 1, "NUL", None),
    "customer.age > 3 // " + "x" * MAX_CHARS: (1, 1, f"at most {MAX_CHARS}", None),
    "context.pages.all(a, context.pages.all(b, context.pages.all(c, context.pages.all(d, a == b))))": (
        1,
        1,
        "at most 3 of all, exists",
        None,
    ),
}


@pytest.mark.parametrize("source", MISTAKES, ids=lambda source: source[:30] or "empty")
def test_a_mistake_has_its_place_and_a_way_out(source: str) -> None:
    line, column, message, suggestion = MISTAKES[source]
    with pytest.raises(RuleError) as caught:
        CHECKER.check_new(source)
    error = caught.value
    assert message in error.message
    assert (error.line, error.column) == (line, column)
    if suggestion is None:
        assert error.suggestion is None or source == "has(customer.nope)"
    else:
        assert error.suggestion is not None
        assert suggestion in error.suggestion


@pytest.mark.parametrize(
    ("source", "paths", "segments"),
    [
        ("customer.age > 30", {"customer.age"}, set()),
        ("has(customer.age) && customer.age > 3", {"customer.age"}, set()),
        ("segment.vip || segment.young", set(), {"vip", "young"}),
        ("context.pages.exists(p, p.startsWith('d'))", {"context.pages"}, set()),
        ("customer.interests.coffee > 0.5", {"customer.interests.coffee"}, set()),
        ("now > customer.since", {"now", "customer.since"}, set()),
        ("'customer.nope' == customer.region // customer.nope", {"customer.region"}, set()),
        ("offer.group == 'cards' && offer.margin > 1.0", {"offer.group", "offer.margin"}, set()),
        ("customer . age > 3", {"customer.age"}, set()),
    ],
)
def test_references_are_found_whatever_the_spelling(source: str, paths: set[str], segments: set[str]) -> None:
    if "nope" in source:
        with pytest.raises(RuleError, match="is not a value"):
            CHECKER.check(source)
        return
    expression = CHECKER.check(source)
    assert set(expression.paths) == paths
    assert set(expression.segments) == segments


def test_a_value_must_be_a_number() -> None:
    assert CHECKER.check("offer.margin * 2.0", "number").paths == {"offer.margin"}
    assert CHECKER.check("customer.age + 1", "number").kind == "number"
    with pytest.raises(RuleError, match="a value must be a number; this is true or false"):
        CHECKER.check("customer.age > 1", "number")


def test_the_same_expression_is_checked_once() -> None:
    assert CHECKER.check("customer.age > 30") is CHECKER.check("customer.age > 30")
