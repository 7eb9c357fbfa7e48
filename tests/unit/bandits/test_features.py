"""Encoders: what they read and fill, that every process encodes the same, and which declarations are refused."""

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.errors import PolicyParameterError
from bandits.features import MAX_COLUMNS, NO_ENCODER, Encoder, Feature
from tests.support.bandits_features import (
    AGE,
    ALL,
    AT_MS,
    CITY,
    REASON,
)


def test_the_propensity_is_only_marked() -> None:
    encoder = Encoder((AGE, Feature("p", "propensity")))
    assert (encoder.propensity, encoder.width) == (True, 2)
    assert not Encoder((AGE,)).propensity
    assert (NO_ENCODER.width, NO_ENCODER.paths, NO_ENCODER.propensity) == (0, frozenset(), False)


def test_an_encoder_says_what_it_reads_and_fills() -> None:
    encoder = Encoder(ALL)
    assert len(encoder.columns) == len(set(encoder.columns)) == encoder.width
    assert encoder.paths == {
        "customer.age",
        "customer.income",
        "customer.city",
        "customer.interests",
        "context.reason",
    }
    assert [(encoder.columns[i], j if j is None else encoder.columns[j]) for i, j in encoder.scaled] == [
        ("age", "age?"),
        ("income", None),
    ]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(Encoder(ALL).paths)), anything), st.integers(0, 2**42))
def test_whatever_the_facts_columns_are_bounded_and_the_same_again(facts: dict[str, Any], at_ms: int) -> None:
    x = Encoder(ALL).encode(facts, at_ms)
    assert (np.abs(x) <= 4.0).all()
    reordered = {"customer.other": 1, **dict(reversed(list(facts.items())))}
    assert Encoder(ALL).encode(reordered, at_ms).tobytes() == x.tobytes()


@given(
    st.dictionaries(st.sampled_from(sorted(Encoder(ALL).paths)), st.text(max_size=4) | st.floats(-1e6, 1e6))
)
def test_facts_that_went_through_the_log_are_encoded_the_same(facts: dict[str, Any]) -> None:
    x = Encoder(ALL).encode(facts, AT_MS)
    assert Encoder(ALL).encode(json.loads(json.dumps(facts)), AT_MS).tobytes() == x.tobytes()


def test_another_process_encodes_the_same() -> None:
    program = (
        "import sys\n"
        "from bandits.features import Encoder\n"
        "from tests.support.bandits_features import ALL, AT_MS\n"
        "facts = {'customer.city': ['Lyon', 'Oslo'], 'context.reason': 'moving', 'customer.age': 33,\n"
        "         'customer.interests': {'a': 0.1, 'b': 0.2, 'c': 0.3, 'd': 0.7}}\n"
        "sys.stdout.write(Encoder(ALL).encode(facts, AT_MS).tobytes().hex())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop()) == 16 * Encoder(ALL).width


def feature(**said: Any) -> tuple[Feature, ...]:
    return (Feature(**{"name": "f", **said}),)


@pytest.mark.parametrize(
    ("features", "field", "message"),
    [
        (feature(kind="numerical", path="customer.a"), "features[0].kind", "did you mean 'numeric'"),
        (feature(name="1st", kind="weekday"), "features[0].name", "beginning with a letter"),
        (feature(kind="numeric"), "features[0].path", "customer.age"),
        (feature(kind="numeric", path="age"), "features[0].path", "not 'age'"),
        (feature(kind="numeric", path="offer.price"), "features[0].path", "not 'offer.price'"),
        (feature(kind="numeric", path="customer.a b"), "features[0].path", "not 'customer.a b'"),
        (feature(kind="numeric", path="customer.a", low=1.0), "features[0].high", "both low and high"),
        (feature(kind="numeric", path="customer.a", high=1.0), "features[0].low", "both low and high"),
        (feature(kind="numeric", path="customer.a", low=1.0, high=1.0), "features[0].high", "above low"),
        (feature(kind="numeric", path="customer.a", low=0.0, high=5e-324), "features[0].high", "above low"),
        (feature(kind="numeric", path="customer.a", default=math.nan), "features[0].default", "a number"),
        (feature(kind="numeric", path="customer.a", default=1e300), "features[0].default", "a number"),
        (feature(kind="numeric", path="customer.a", low=True, high=2), "features[0].low", "a number"),
        (
            feature(kind="numeric", path="customer.a", buckets=4),
            "features[0].buckets",
            "numeric feature takes path",
        ),
        (feature(kind="weekday", path="customer.a"), "features[0].path", "weekday feature takes time_zone"),
        (feature(kind="propensity", path="customer.a"), "features[0].path", "nothing but a name"),
        (feature(kind="category", path="customer.a"), "features[0].values", "one of the two"),
        (
            feature(kind="category", path="customer.a", values=("a",), buckets=2),
            "features[0].values",
            "one of",
        ),
        (feature(kind="category", path="customer.a", values=("a", "a")), "features[0].values", "different"),
        (
            feature(kind="category", path="customer.a", values=("",)),
            "features[0].values",
            "texts of 1 to 200",
        ),
        (feature(kind="category", path="customer.a", buckets=1), "features[0].buckets", "from 2 to 64"),
        (feature(kind="category", path="customer.a", buckets=65), "features[0].buckets", "from 2 to 64"),
        (feature(kind="category", path="customer.a", buckets=2.0), "features[0].buckets", "whole number"),
        (feature(kind="interests", path="customer.a"), "features[0].topics", "one of the two"),
        (feature(kind="weekday", time_zone="Mars/Olympus"), "features[0].time_zone", "IANA name"),
        (feature(kind="weekday", time_zone="../passwd"), "features[0].time_zone", "IANA name"),
        (feature(kind="time_of_day", harmonics=3), "features[0].harmonics", "1 or 2"),
        ((REASON, Feature("x", "cross", of=("reason",), buckets=3)), "features[1].of", "two different"),
        (
            (REASON, Feature("x", "cross", of=("reason", "reason"), buckets=3)),
            "features[1].of",
            "two different",
        ),
        ((REASON, Feature("x", "cross", of=("reason", "age"), buckets=3)), "features[1].of", "no category"),
        (
            (REASON, CITY, Feature("x", "cross", of=("reson", "city"), buckets=3)),
            "features[2].of",
            "'reason'",
        ),
        ((REASON, CITY, Feature("x", "cross", of=("reason", "city"))), "features[2].buckets", "whole number"),
        ((AGE, AGE), "features[1].name", "another feature is called 'age'"),
        ((Feature("p", "propensity"), Feature("q", "propensity")), "features", "once only"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_by_field(
    features: tuple[Feature, ...], field: str, message: str
) -> None:
    with pytest.raises(PolicyParameterError, match=message) as caught:
        Encoder(features)
    assert caught.value.field == field


def test_too_many_columns_are_refused_with_their_number() -> None:
    def hashed(*buckets: int) -> tuple[Feature, ...]:
        return tuple(
            Feature(f"f{i}", "category", "customer.a", buckets=count) for i, count in enumerate(buckets)
        )

    assert Encoder(hashed(31, 31)).width == MAX_COLUMNS
    with pytest.raises(PolicyParameterError, match="make 65 columns, and 64 are the most") as caught:
        Encoder(hashed(31, 32))
    assert caught.value.field == "features"
    with pytest.raises(PolicyParameterError, match="make 66 columns"):
        Encoder((*hashed(31, 31), Feature("p", "propensity")))
