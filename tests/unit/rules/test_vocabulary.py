"""The vocabulary: names that rules may use, and what is said about the others."""

import pytest

from rules.errors import VocabularyError
from rules.vocabulary import Attribute, Vocabulary


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        (Attribute("age", "int"), "write customer., context. or offer."),
        (Attribute("customer.in", "int"), "is a word of CEL"),
        (Attribute("customer.a-b", "int"), "cannot be an attribute"),
        (Attribute("customer.a", "money"), "unknown type"),  # type: ignore[arg-type]  # what is refused here
        (Attribute("customer.a", "int", values=("x",)), "cannot be one of its values"),
        (Attribute("customer.a", "int", values=(True,)), "cannot be one of its values"),
        (Attribute("customer.holdings", "list"), "declared twice"),
    ],
)
def test_a_wrong_vocabulary_is_refused(attribute: Attribute, reason: str) -> None:
    with pytest.raises(VocabularyError, match=reason):
        Vocabulary.of([attribute])


def test_an_attribute_cannot_be_one_and_hold_others() -> None:
    with pytest.raises(VocabularyError, match=r"customer\.a is an attribute, so customer\.a\.b"):
        Vocabulary.of([Attribute("customer.a", "int"), Attribute("customer.a.b", "int")])
