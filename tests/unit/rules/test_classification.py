"""Documents without the values of classified attributes."""

from typing import Any

import pytest

from rules.classification import classified, without
from rules.vocabulary import Attribute

PATHS = {"customer.income", "context.mood", "context.call.reason"}
ATTRIBUTES = [
    Attribute("customer.name", "string"),
    Attribute("customer.income", "number", classification="sensitive"),
    Attribute("customer.city", "string", classification="public"),
]


def test_what_is_not_classified_is_personal() -> None:
    assert classified(ATTRIBUTES, "personal") == {"customer.name"}
    assert classified(ATTRIBUTES, "public", "sensitive") == {"customer.income", "customer.city"}


@pytest.mark.parametrize(
    ("document", "root", "kept"),
    [
        ({"facts": {"customer.income": 1, "customer.age": 2}}, "", {"facts": {"customer.age": 2}}),
        ({"seen": {"attributes": {"income": 1, "age": 2}}}, "", {"seen": {"attributes": {"age": 2}}}),
        ({"indicators": {"income": 1}, "income": 3}, "", {"indicators": {}, "income": 3}),
        ({"context": {"mood": "x", "page": "y"}}, "", {"context": {"page": "y"}}),
        ({"context": {"call": {"reason": "x", "n": 1}}}, "", {"context": {"call": {"n": 1}}}),
        ([{"stops": [{"observed": {"customer.income": 1}}]}], "", [{"stops": [{"observed": {}}]}]),
        ({"income": 1, "age": 2}, "customer", {"age": 2}),
        ({"mood": "x"}, "customer", {"mood": "x"}),
        (None, "", None),
    ],
)
def test_values_are_left_out_wherever_they_stand(document: Any, root: str, kept: Any) -> None:
    assert without(document, PATHS, root) == kept
    assert without(document, (), root) is document
