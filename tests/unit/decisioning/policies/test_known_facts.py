"""What is known of the facts of requests: declared, and seen to keep coming."""

from typing import Any

from bandits.auto_features import KnownFact
from bandits.features import Feature
from decisioning.policies.known_facts import MIN_SEEN, known_facts, unsent_facts
from decisioning.policies.store_facts import customer_facts, flat_facts
from profiles.customer import Customer
from rules.vocabulary import Attribute

AGE = Attribute("customer.age", "int")
REGION = Attribute("customer.region", "string", values=("north", "south"))


def seen(path: str, values: list[Any], attributes: tuple[Attribute, ...] = ()) -> list[KnownFact]:
    sample = [{} if value is None else {path: value} for value in values]
    return known_facts(attributes, [sample])


def test_what_is_declared_counts_before_anything_was_seen() -> None:
    attributes = (
        AGE,
        REGION,
        Attribute("context.urgent", "bool"),
        Attribute("context.stars", "int", values=(1, 5, 3)),
        Attribute("customer.since", "timestamp"),
        Attribute("offer.price", "number"),
    )
    assert known_facts(attributes, [[], []]) == [
        KnownFact("customer.age", "number"),
        KnownFact("customer.region", "text", ("north", "south")),
        KnownFact("context.urgent", "truth"),
        KnownFact("context.stars", "number", low=1.0, high=5.0),
    ]


def test_a_number_has_the_range_and_the_usual_value_that_were_seen() -> None:
    (fact,) = seen("customer.age", list(range(101)), (AGE,))
    assert fact == KnownFact("customer.age", "number", low=1.0, high=99.0, middle=50.0, always=True)
    (fact,) = seen("customer.age", [*range(101), *[None] * 50], (AGE,))
    assert not fact.always


def test_values_that_were_seen_come_first_and_the_most_frequent_ones_before_others() -> None:
    (fact,) = seen("customer.region", ["west", "south", "west"], (REGION,))
    assert fact.values == ("west", "south", "north")


def test_what_nobody_declared_counts_when_it_keeps_coming() -> None:
    assert seen("customer.plan", ["gold", "basic"] * 5) == []
    (fact,) = seen("customer.plan", ["gold", "basic", "basic"] * MIN_SEEN)
    assert fact == KnownFact("customer.plan", "text", ("basic", "gold"), always=True, declared=False)
    assert seen("customer.plan", ["gold", "basic"] * MIN_SEEN + [None] * 10_000) == []


def test_identifiers_constants_and_mixed_facts_are_left_out() -> None:
    assert seen("customer.email", [f"{number}@example.com" for number in range(100)]) == []
    assert seen("customer.country", ["ES"] * 100) == []
    assert seen("customer.score", [1.0] * 100) == []
    assert seen("customer.code", [1, "one"] * 50) == []
    assert seen("customer.customer_id", list(range(100))) == []
    assert seen("customer.holdings", [()] * 100) == []


def test_what_is_declared_counts_though_it_was_always_the_same() -> None:
    assert seen("customer.age", [40] * 100, (AGE,)) == [KnownFact("customer.age", "number")]


def test_lists_and_interests_are_counted_by_their_items() -> None:
    (holdings,) = seen("customer.holdings", [("card",), ("card", "loan")] * MIN_SEEN)
    assert (holdings.kind, holdings.values) == ("texts", ("card", "loan"))
    (interests,) = seen("customer.interests", [{"sport": 0.5}, {}] * MIN_SEEN)
    assert (interests.kind, interests.values) == ("strengths", ("sport",))


def test_facts_have_the_paths_that_decisions_know_them_by() -> None:
    customer = Customer("c", {"age": 40, "risk": 0.1}, {"risk": 0.9}, ("card",), {"sport": 0.5}, {})
    assert customer_facts(customer) == {
        "customer.age": 40,
        "customer.risk": 0.9,
        "customer.holdings": ("card",),
        "customer.interests": {"sport": 0.5},
    }
    context = {"reason": "moving", "page": {"name": "home", "deep": {"er": {"still": {"more": 1}}}}}
    assert flat_facts("context", context) == {"context.reason": "moving", "context.page.name": "home"}


def test_features_that_nobody_ever_sent_are_told_with_what_may_be_meant() -> None:
    features = [
        Feature("age", "numeric", "customer.age"),
        Feature("reason", "category", "context.reson"),
        Feature("likes", "interests", "context.likes"),
        Feature("tier", "category", "customer.loyalty"),
        Feature("channel", "category", "context.channel"),
        Feature("hour", "time_of_day"),
    ]
    customers = [{"customer.age": 3}, {}]
    contexts = [{"context.reason": "cancel", "context.likes.tea": 1.0}]
    declared = [Attribute("customer.loyalty", "string")]
    assert unsent_facts(features, declared, customers, contexts) == [
        "features.reason.path: 'context.reson' is not declared, and none of the last 1 decisions had it, so nothing is"
        " learned from it; did you mean 'context.reason'?",
        "features.tier.path: 'customer.loyalty' is declared, but none of the last 2 customers had it, so nothing is"
        " learned from it",
    ]


def test_features_of_events_are_held_against_the_catalogue() -> None:
    features = [
        Feature("calls", "numeric", "events.calls_7d"),
        Feature("calls2", "numeric", "events.calls7d"),
        Feature("sport", "numeric", "interests.sport"),
    ]
    declared = [Attribute("events.calls_7d", "int")]
    assert unsent_facts(features, declared, [{}], [{}]) == [
        "features.calls2.path: 'events.calls7d' is not in the catalogue, so nothing is learned from it; did you mean"
        " 'events.calls_7d'?",
        "features.sport.path: 'interests.sport' is not in the catalogue, so nothing is learned from it",
    ]


def test_where_nothing_was_looked_at_nothing_is_said_to_be_missing() -> None:
    assert unsent_facts([Feature("reason", "category", "context.reason")], [], [], []) == []
