"""`features: auto`: the rule that chooses features of what is known to come."""

from hypothesis import given
from hypothesis import strategies as st

from bandits.auto_features import (
    MAX_AUTO_COLUMNS,
    MAX_VALUES,
    MIN_VALUES,
    TIME_OF_DAY,
    KnownFact,
    auto_features,
    feature_paths,
)
from bandits.features import Encoder, Feature

REGIONS = tuple(f"region {number}" for number in range(12))


def test_each_kind_of_fact_makes_its_feature() -> None:
    features = auto_features([
        KnownFact("customer.interests", "strengths", ("sport", "travel"), declared=False),
        KnownFact("customer.age", "number", low=18, high=90, middle=44, always=True),
        KnownFact("customer.spend", "number"),
        KnownFact("customer.member", "truth"),
        KnownFact("customer.region", "text", ("north", "south")),
        KnownFact("context.reason", "text"),
    ])  # fmt: skip
    assert features == (
        Feature("customer-age", "numeric", "customer.age", low=18, high=90, default=44),
        Feature("customer-spend", "numeric", "customer.spend"),
        Feature("customer-member", "numeric", "customer.member", low=0.0, high=1.0),
        Feature("context-reason", "category", "context.reason", buckets=MAX_VALUES),
        Feature("customer-region", "category", "customer.region", values=("north", "south")),
        Feature("customer-interests", "interests", "customer.interests", topics=("sport", "travel")),
        TIME_OF_DAY,
    )


def test_what_is_declared_comes_before_what_was_only_seen() -> None:
    seen = KnownFact("customer.a", "number", declared=False)
    declared = KnownFact("customer.z", "text", ("x", "y"))
    assert [feature.path for feature in auto_features([seen, declared])] == ["customer.z", "customer.a", None]


def test_a_category_keeps_its_most_frequent_values() -> None:
    (feature, _) = auto_features([KnownFact("customer.region", "text", REGIONS)])
    assert feature.values == REGIONS[:MAX_VALUES]


def test_the_widest_category_is_made_narrower_before_anything_is_dropped() -> None:
    facts = [
        KnownFact("customer.age", "number"),
        KnownFact("customer.region", "text", REGIONS),
        KnownFact("customer.size", "text", ("s", "m", "l")),
    ]
    features = auto_features(facts, max_columns=14)
    assert [len(feature.values) for feature in features] == [0, 3, 3, 0]
    features = auto_features(facts, max_columns=9)
    assert [feature.path for feature in features] == ["customer.age", "customer.region"]
    assert len(features[1].values) == MIN_VALUES


paths = st.from_regex(r"(customer|context)\.[a-z]{1,3}(\.[a-z]{1,70})?", fullmatch=True)
known = st.builds(
    KnownFact,
    path=paths,
    kind=st.sampled_from(["number", "truth", "text", "texts", "strengths"]),
    values=st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=20).map(tuple),
    always=st.booleans(),
    declared=st.booleans(),
)


@given(st.lists(known, max_size=60, unique_by=lambda fact: fact.path), st.integers(2, MAX_AUTO_COLUMNS))
def test_the_columns_are_bounded_and_the_order_of_facts_says_nothing(
    facts: list[KnownFact], most: int
) -> None:
    features = auto_features(facts, most)
    assert Encoder(features).width <= most
    assert features == auto_features(list(reversed(facts)), most)
    assert feature_paths(features) <= {fact.path for fact in facts}
