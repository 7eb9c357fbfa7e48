"""The columns that each kind of feature makes of facts."""

import math
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bandits.feature_columns import hash_bucket
from bandits.features import Encoder, Feature

AT_MS = 1_750_000_000_000  # Sunday, 15 June 2025, 15:06:40 UTC
AGE = Feature("age", "numeric", "customer.age", low=20, high=60)
INCOME = Feature("income", "numeric", "customer.income", default=1000.0)
REASON = Feature("reason", "category", "context.reason", values=("renewal", "complaint"))
CITY = Feature("city", "category", "customer.city", buckets=5)
PAIR = Feature("pair", "cross", of=("reason", "city"), buckets=7)
DAY = Feature("day", "weekday", time_zone="Pacific/Auckland")
LIKES = Feature("likes", "interests", "customer.interests", topics=("sport", "travel"))
LIKES_ANY = Feature("any", "interests", "customer.interests", buckets=4)
HASHED = [626, 277, 17, 849]


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
