"""Values that nothing ever has are told apart from those that something may have."""

from collections.abc import Collection
from typing import Any

import pytest

from decisioning.catalog.compared import KnownValues, compared_warnings, context_warnings, unseen_warnings
from rules.vocabulary import Attribute
from tests.support.shop import ATTRIBUTES, catalogue_with, offer

DECLARED = {
    "context.reason": Attribute("context.reason", "string", values=("cancel", "browse")),
    "context.level": Attribute("context.level", "int", values=(1, 2, 3)),
    "context.pages": Attribute("context.pages", "list", values=("deals", "help")),
    "context.device.kind": Attribute("context.device.kind", "string", values=("phone", "desktop")),
    "context.basket": Attribute("context.basket", "number"),
}
CATALOGUE = catalogue_with([offer(1)], attributes=ATTRIBUTES | DECLARED)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("context.level == 7", "context.level is never '7'"),
        ("7 != context.level", "context.level is never '7'"),
        ("context.reason.startsWith('x')", "context.reason.startsWith('x') is never true"),
        ("context.channel == 'wob'", "context.channel is never 'wob'"),
        ("context.placement in ['home', 'away']", "context.placement is never 'away'"),
        ("offer.group == 'crads'", "offer.group is never 'crads'"),
        ("offer.offer_id != 'o2'", "offer.offer_id is never 'o2'"),
    ],
)
def test_a_rule_about_what_never_is_gets_a_warning(source: str, message: str) -> None:
    (found,) = compared_warnings(CATALOGUE, "segments.x.when", source)
    assert (found.field, found.message) == ("segments.x.when", message)
    assert found.way_out


@pytest.mark.parametrize(
    "source",
    [
        "context.level == 3 || context.level > 7",
        "context.reason.startsWith('c') && context.reason.contains('rows')",
        "context.channel == 'web' && context.placement != 'home'",
        "offer.group in ['cards', 'loans'] && offer.offer_id == 'o1'",
        "customer.city == 'anything' && context.basket == 7.0",
    ],
)
def test_a_rule_about_what_may_be_gets_none(source: str) -> None:
    assert list(compared_warnings(CATALOGUE, "when", source)) == []


@pytest.mark.parametrize(
    ("context", "field", "message", "way_out"),
    [
        (
            {"reason": "cancle"},
            "context.reason",
            "'cancle' is not a declared value",
            "did you mean 'cancel'?",
        ),
        ({"reason": 3}, "context.reason", "3 is not a declared value", "its values are cancel, browse"),
        ({"level": 9}, "context.level", "9 is not a declared value", "1, 2, 3"),
        ({"pages": ["deals", "hlep"]}, "context.pages", "'hlep' is not", "did you mean 'help'?"),
        ({"pages": "deals"}, "context.pages", "declared as list", "send a list"),
        ({"reson": "cancel"}, "context.reson", "is not declared", "did you mean context.reason?"),
        ({"device": {"kind": "phon"}}, "context.device.kind", "'phon' is not", "'phone'"),
    ],
)
def test_a_context_with_what_is_not_declared_gets_a_warning(
    context: dict[str, Any], field: str, message: str, way_out: str
) -> None:
    (found,) = context_warnings(CATALOGUE.checker.vocabulary, context)
    assert found.field == field
    assert message in found.message
    assert way_out in found.way_out


def test_a_context_as_declared_or_of_something_else_gets_none() -> None:
    context = {
        "reason": "cancel",
        "level": 2,
        "pages": ["help"],
        "device": {"kind": "phone"},
        "zzz": {"a": [1]},
    }
    assert context_warnings(CATALOGUE.checker.vocabulary, context) == []


@pytest.mark.parametrize(
    ("source", "message", "way_out"),
    [
        ("'fibra' in customer.holdings", "'fibra' in customer.holdings", "did you mean 'fibra-300'?"),
        ("customer.city == 'Berne'", "'Berne' in customer.city", "did you mean 'Bern'?"),
        ("customer.city in ['Bern', 'x']", "'x' in customer.city", "there are Bern"),
    ],
)
def test_what_a_rule_looks_for_and_nobody_has_is_said(source: str, message: str, way_out: str) -> None:
    customers: list[dict[str, Any]] = [
        {"holdings": ("fibra-300", "mobile")},
        {"city": "Bern", "holdings": ()},
    ]
    (found,) = unseen_warnings(CATALOGUE.checker.vocabulary, source, customers)
    assert (found.field, found.way_out) == ("expression", way_out)
    assert found.message == f"none of the 2 customers looked at has {message}"


def test_what_somebody_has_or_nobody_was_looked_at_for_is_not() -> None:
    vocabulary = CATALOGUE.checker.vocabulary
    assert unseen_warnings(vocabulary, "'mobile' in customer.holdings", [{"holdings": ("mobile",)}]) == []
    assert unseen_warnings(vocabulary, "'mobile' in customer.holdings", []) == []
    assert unseen_warnings(vocabulary, "customer.age == 3", [{"age": 4}]) == []


def test_many_values_that_never_are_cost_a_bounded_number_of_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def close(value: str, values: Collection[str], **_: Any) -> list[str]:
        compared.append(value)
        return [next(iter(values))]

    monkeypatch.setattr("decisioning.catalog.compared.get_close_matches", close)
    monkeypatch.setattr("decisioning.catalog.compared.MAX_COMPARISONS", 5)
    catalogue = catalogue_with([offer(1), offer(2)], attributes=ATTRIBUTES)
    known = KnownValues(catalogue)
    sources = [f"offer.offer_id == 'x{number}'" for number in (1, 1, 2, 3, 4)]
    found = [next(compared_warnings(catalogue, "when", source, known)) for source in sources]
    assert compared == ["x1", "x2"]
    assert [warning.way_out for warning in found] == [
        *["did you mean 'o1'?"] * 3,
        *["there are o1, o2"] * 2,
    ]
