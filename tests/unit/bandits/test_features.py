"""Features: what each kind makes of facts, and which declarations are refused."""

import json
import math
import subprocess
import sys
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.errors import PolicyParameterError
from bandits.feature_columns import hash_bucket
from bandits.features import MAX_COLUMNS, NO_ENCODER, Encoder, Feature

AT_MS = 1_750_000_000_000  # Sunday, 15 June 2025, 15:06:40 UTC
AGE = Feature("age", "numeric", "customer.age", low=20, high=60)
INCOME = Feature("income", "numeric", "customer.income", default=1000.0)
REASON = Feature("reason", "category", "context.reason", values=("renewal", "complaint"))
CITY = Feature("city", "category", "customer.city", buckets=5)
PAIR = Feature("pair", "cross", of=("reason", "city"), buckets=7)
HOUR = Feature("hour", "time_of_day", time_zone="America/New_York", harmonics=2)
DAY = Feature("day", "weekday", time_zone="Pacific/Auckland")
LIKES = Feature("likes", "interests", "customer.interests", topics=("sport", "travel"))
LIKES_ANY = Feature("any", "interests", "customer.interests", buckets=4)
ALL = (AGE, INCOME, REASON, CITY, PAIR, HOUR, DAY, LIKES, LIKES_ANY, Feature("p", "propensity"))


def encoded(feature: Feature, value: Any, *more: Feature) -> dict[str, float]:
    """The columns of one fact that are not 0."""
    encoder = Encoder((feature, *more))
    x = encoder.encode({feature.path or "": value}, AT_MS)
    return {name: number for name, number in zip(encoder.columns, x.tolist(), strict=True) if number}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(20, -1.0), (40, 0.0), (60, 1.0), (50.0, 0.5), (140, 4.0), (1e300, 4.0), (-1e300, -4.0), (-20, -3.0)],
)
def test_a_number_is_put_on_its_declared_range(value: float, expected: float) -> None:
    assert encoded(AGE, value).get("age", 0.0) == expected
    assert "age?" not in encoded(AGE, value)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "40", [40], {}, 10**400])
def test_what_is_no_finite_number_is_missing(value: Any) -> None:
    assert encoded(AGE, value) == {"age?": 1.0}
    assert encoded(INCOME, value) == {"income": math.asinh(1000.0) / 8}
    assert Encoder((INCOME,)).columns == ("income",)


def test_a_number_without_a_range_rises_slowly_and_without_end_in_sight() -> None:
    values = [-1e12, -100.0, -1.0, 0.0, 1.0, 100.0, 1e12]
    found = [encoded(INCOME, value).get("income", 0.0) for value in values]
    assert found == [math.asinh(value) / 8 for value in values]
    assert found == sorted(found)
    assert encoded(INCOME, 1e300) == {"income": 4.0}
    assert encoded(INCOME, True) == {"income": math.asinh(1.0) / 8}


def test_known_values_have_columns_and_all_others_one() -> None:
    assert Encoder((REASON,)).columns == ("reason=renewal", "reason=complaint", "reason=other", "reason?")
    assert encoded(REASON, "complaint") == {"reason=complaint": 1.0}
    assert encoded(REASON, "moving") == {"reason=other": 1.0}
    assert encoded(REASON, ["complaint", "moving", "renewal"]) == {
        "reason=renewal": 1.0,
        "reason=complaint": 1.0,
        "reason=other": 1.0,
    }
    assert encoded(REASON, []) == {}  # known to be none
    for missing in (None, {"a": 1}, math.nan, [None]):
        assert encoded(REASON, missing) == {"reason?": 1.0}


def test_numbers_and_truth_values_are_categories_as_they_are_written() -> None:
    tier = Feature("tier", "category", "customer.tier", values=("1", "true", "2.5"))
    for value, column in ((1, "1"), (1.0, "1"), (True, "true"), (2.5, "2.5"), (2, "other"), (False, "other")):
        assert encoded(tier, value) == {f"tier={column}": 1.0}


def test_values_are_hashed_by_the_features_name() -> None:
    assert encoded(CITY, "Lyon") == {f"city#{hash_bucket('city', 'Lyon', 5)}": 1.0}
    assert encoded(CITY, None) == {"city?": 1.0}
    names = [f"f{i}" for i in range(200)]
    found = np.bincount([hash_bucket(name, "Lyon", 5) for name in names], minlength=5)
    assert found.min() > 20  # 40 are expected of each
    assert len({hash_bucket("city", f"v{i}", 64) for i in range(600)}) == 64


def test_hashes_are_those_of_blake2b_whatever_the_process() -> None:
    """Written down: another hash would give every arm that was ever learned another meaning."""
    assert [hash_bucket("city", value, 1000) for value in ("Lyon", "", "Zürich", "\ud800")] == HASHED


HASHED = [626, 277, 17, 849]


def test_pairs_of_two_categories_are_hashed_together() -> None:
    encoder = Encoder((REASON, CITY, PAIR))
    rows: dict[tuple[str, str], int] = {}
    start = encoder.columns.index("pair#0")
    for reason in ("renewal", "complaint", "moving", "leaving"):
        for city in ("Lyon", "Oslo", "Bern", "Rome"):
            x = encoder.encode({"context.reason": reason, "customer.city": city}, AT_MS)[start:]
            assert x.sum() == 1.0
            rows[reason, city] = int(x.argmax())
    assert len(set(rows.values())) > 3
    assert all(rows["moving", city] == rows["leaving", city] for city in ("Lyon", "Oslo", "Bern", "Rome"))
    assert any(rows["moving", city] != rows["renewal", city] for city in ("Lyon", "Oslo", "Bern", "Rome"))
    for facts in ({"context.reason": "renewal"}, {"customer.city": "Lyon"}, {}):
        assert not encoder.encode(facts, AT_MS)[start:].any()
    lists = {"context.reason": ["renewal", "complaint"], "customer.city": ["Lyon", "Oslo"]}
    hit = set(np.flatnonzero(encoder.encode(lists, AT_MS)[start:]).tolist())
    assert hit == {rows[r, c] for r in ("renewal", "complaint") for c in ("Lyon", "Oslo")}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_the_time_of_day_is_local_and_has_no_edge_at_midnight(zone: str) -> None:
    feature = Feature("hour", "time_of_day", time_zone=zone, harmonics=2)
    encoder = Encoder((feature,))
    assert encoder.columns == ("hour.sin", "hour.cos", "hour.sin2", "hour.cos2")
    for at in ("2025-01-15T00:00:00", "2025-07-15T06:00:00", "2025-03-30T23:59:59", "2025-10-26T13:30:00"):
        local = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(zone))
        day = (local.hour + local.minute / 60 + local.second / 3600) / 24
        expected = [f(h * 2 * math.pi * day) for h in (1, 2) for f in (math.sin, math.cos)]
        np.testing.assert_allclose(encoder.encode({}, int(local.timestamp() * 1000)), expected, atol=1e-12)


def test_the_weekday_is_local() -> None:
    assert encoded(Feature("day", "weekday"), None) == {"day=sun": 1.0}
    assert encoded(DAY, None) == {"day=mon": 1.0}
    assert len(Encoder((DAY,)).columns) == 7


def test_interests_have_columns_by_topic_or_bucket() -> None:
    strengths = {"sport": 0.5, "travel": 7.0, "art": 0.25}
    assert encoded(LIKES, strengths) == {"likes.sport": 0.5, "likes.travel": 1.0}
    assert encoded(LIKES, {"sport": -3, "travel": "much"}) == {"likes.sport": -1.0}
    expected = np.zeros(4)
    for topic, strength in (("art", 0.25), ("sport", 0.5), ("travel", 1.0)):
        expected[hash_bucket("any", topic, 4)] += strength
    found = Encoder((LIKES_ANY,)).encode({"customer.interests": strengths}, AT_MS)
    np.testing.assert_array_equal(found, [*np.minimum(expected, 1.0), 0.0])
    for missing in (None, ["sport"], 3):
        assert encoded(LIKES, missing) == {"likes?": 1.0}
        assert encoded(LIKES_ANY, missing) == {"any?": 1.0}
    assert encoded(LIKES, {}) == {}


def test_sums_over_interests_do_not_depend_on_the_order_in_which_they_are_listed() -> None:
    encoder = Encoder((Feature("any", "interests", "customer.interests", buckets=2),))
    topics = {f"t{i}": 0.1 / (i + 3) for i in range(12)}
    rng = np.random.default_rng(1)
    found = set()
    for _ in range(20):
        order = rng.permutation(list(topics)).tolist()
        facts = {"customer.interests": {topic: topics[topic] for topic in order}}
        found.add(encoder.encode(facts, AT_MS).tobytes())
    assert len(found) == 1


def test_pairs_that_read_the_same_when_joined_are_different_pairs() -> None:
    first, second = (Feature(name, "category", f"customer.{name}", buckets=2) for name in ("a", "b"))
    encoder = Encoder((first, second, Feature("pair", "cross", of=("a", "b"), buckets=50)))
    one, other = ({"customer.a": a, "customer.b": b} for a, b in (("x=y", "z"), ("x", "y=z")))
    assert (encoder.encode(one, AT_MS)[6:] != encoder.encode(other, AT_MS)[6:]).any()


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
        "from tests.unit.bandits.test_features import *\n"
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
