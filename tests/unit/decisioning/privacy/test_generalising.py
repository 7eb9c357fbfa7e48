"""General facts: no text of the customer's own is left, and every policy encodes them as it did."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.features import Encoder, Feature
from decisioning.privacy.generalising import Generaliser

ENCODER = Encoder(
    (
        Feature("age", "numeric", "customer.age", low=0, high=100),
        Feature("plan", "category", "customer.plan", values=("basic", "full")),
        Feature("city", "category", "customer.city", buckets=4),
        Feature("tags", "category", "customer.tags", buckets=3),
        Feature("pair", "cross", of=("plan", "city"), buckets=5),
        Feature("topics", "interests", "customer.interests", buckets=3),
    )
)
OTHER = Encoder((Feature("town", "category", "customer.city", buckets=6),))
TEXTS = st.text(min_size=1, max_size=12)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "customer.age": st.integers(-5, 200) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
        "customer.plan": st.sampled_from(("basic", "full")) | TEXTS,
        "customer.city": TEXTS | st.booleans(),
        "customer.tags": st.lists(TEXTS, max_size=2),
        "customer.interests": st.dictionaries(TEXTS, st.floats(-1, 1), max_size=3),
        "customer.name": TEXTS,
    },
)


@settings(max_examples=60, deadline=None)
@given(FACTS)
def test_every_policy_encodes_general_facts_as_it_did(facts: dict[str, Any]) -> None:
    general = Generaliser([ENCODER, OTHER]).generalise(facts, 0)
    assert not general.inexact
    for encoder in (ENCODER, OTHER):
        assert np.array_equal(encoder.encode(general.facts, 0), encoder.encode(facts, 0))


@given(FACTS)
@settings(max_examples=60, deadline=None)
def test_texts_that_no_policy_declares_are_gone(facts: dict[str, Any]) -> None:
    general = Generaliser([ENCODER, OTHER]).generalise(facts, 0).facts
    assert "customer.name" not in general
    for path in ("customer.age", "customer.plan", "customer.city", "customer.tags"):
        value = general.get(path, ())
        for one in [value] if isinstance(value, str) else value if isinstance(value, list) else ():
            assert one in ("basic", "full") or one.startswith("~"), (path, value)


def test_general_facts_stay_as_they_are_when_they_are_made_general_again() -> None:
    generaliser = Generaliser([ENCODER, OTHER])
    facts = {"customer.city": "Zanzibar", "customer.plan": "full", "customer.tags": ["one", "two"]}
    once = generaliser.generalise(facts, 0)
    assert Generaliser([ENCODER, OTHER]).generalise(once.facts, 0) == once


def test_facts_that_no_policy_reads_are_dropped() -> None:
    assert Generaliser([]).generalise({"customer.age": 41, "context.word": "x"}, 0).facts == {}


@pytest.mark.parametrize(("value", "inexact"), [("full", False), ("Zanzibar", True), (3, False)])
def test_a_policy_that_is_given_texts_as_they_are_is_told_of(value: Any, inexact: bool) -> None:
    declared = Feature("plan", "category", "context.plan", values=("full",))
    raw = Feature("word", "category", "context.plan", buckets=2)
    assert (
        Generaliser([Encoder((declared,))], [raw]).generalise({"context.plan": value}, 0).inexact is inexact
    )
