"""The catalogue as a whole: built of entries in any order, checked before it is in force, seen by placement."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.catalog.catalogue import Catalogue, build_catalogue, checker_for
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import top_level_kinds
from decisioning.errors import Invalid, InvalidRule, NotFound
from decisioning.model.deployment import Canary, Deployment
from decisioning.model.entities import AfterRejection, ContactLimit, NotAfter, Placement
from tests.support.shop import NOW_MS, catalogue_with, offer

TREATMENT = {"channel": "web", "language": "en", "title": "T", "message": ""}
SHOP: list[Entry] = [
    ("attribute", "customer.age", {"type": "int"}),
    ("segment", "adult", {"when": "customer.age >= 18"}),
    ("group", "cards", {"name": "Cards", "goal": "grow"}),
    (
        "offer",
        "gold",
        {
            "name": "Gold",
            "group": "cards",
            "value": 3.0,
            "rules": [{"name": "r", "tier": "eligibility", "when": "segment.adult"}],
        },
    ),
    ("treatment", "gold/b", TREATMENT),
    ("treatment", "gold/a", TREATMENT),
    ("placement", "home", {"channel": "web", "default_offers": ["gold"]}),
]
NUMBERS = {"gold": 7}


def with_entry(kind: str, name: str, body: dict[str, Any] | None) -> list[Entry]:
    """The shop with one entry in the place of that of the same name, or added."""
    return [entry for entry in SHOP if entry[:2] != (kind, name)] + [(kind, name, body)]


@given(st.permutations(SHOP))
def test_the_order_of_entries_does_not_matter(entries: list[Entry]) -> None:
    built = build_catalogue(4, entries, NUMBERS)
    expected = build_catalogue(4, SHOP, NUMBERS)
    assert all(built.things(kind) == expected.things(kind) for kind in top_level_kinds())
    assert [t.treatment_id for t in built.offers["gold"].treatments] == ["a", "b"]
    assert built.view("home").numbers.tolist() == [7]


def test_an_entry_without_body_is_deleted_and_treatments_of_no_offer_are_left_out() -> None:
    entries = [
        *with_entry("offer", "gold", None),
        ("placement", "home", {"channel": "web"}),
        ("treatment", "gold/c", None),
    ]
    built = build_catalogue(5, entries, {})
    assert (dict(built.offers), dict(built.numbers), len(built.view("home").offers)) == ({}, {}, 0)


@pytest.mark.parametrize(
    ("kind", "name", "body", "field", "words"),
    [
        ("group", "cards", {"name": "Cards", "goal": "shrink"}, "group.cards.goal", "Input should be"),
        ("group", "cards", {"name": "Cards", "goal": "grow", "x": 1}, "group.cards.x", "keyword argument"),
        ("goal", "grow", {"lever": "high"}, "goal.grow.lever", "valid number"),
        ("treatment", "gold/a", {**TREATMENT, "title": 3}, "treatment.a.title", "valid string"),
        ("placement", "home", {"channel": "web", "default_offers": ["x"]}, "default_offers", "no offer 'x'"),
        ("attribute", "customer.in", {"type": "int"}, "attributes", "a word of CEL"),
        ("segment", "adult", {"when": "segment.adult"}, "segments", "adult"),
        ("segment", "adult", {"when": "true", "description": 1}, "segment.adult.description", "string"),
    ],
)
def test_what_is_wrong_is_named(kind: str, name: str, body: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        build_catalogue(1, with_entry(kind, name, body), NUMBERS)
    assert caught.value.field == field


def test_an_expression_is_named_by_its_place_with_line_and_column() -> None:
    with pytest.raises(InvalidRule) as caught:
        build_catalogue(1, with_entry("segment", "adult", {"when": "1 == 1 &&\n customer.agee > 3"}), NUMBERS)
    assert caught.value.field == "segments.adult.when"
    assert (caught.value.line, caught.value.column) == (2, 2)


def test_what_is_computed_once_for_a_request_must_not_look_at_an_offer() -> None:
    weight = {"when": "offer.group == 'cards'", "percent": 5.0}
    with pytest.raises(Invalid, match="must not refer to the offer") as caught:
        build_catalogue(1, with_entry("context_weight", "w", weight), NUMBERS)
    assert caught.value.field == "context_weights.w.when"


def test_unknown_sections_and_placements() -> None:
    with pytest.raises(TypeError, match="no sections lions, zebras"):
        Catalogue(1, zebras={}, lions={})
    with pytest.raises(NotFound, match="home"):
        Catalogue(1).view("home")
    assert Catalogue(1).deployment("home") == Deployment("home")


def test_policies_with_a_part_in_a_placement() -> None:
    places = {name: Placement(name, "web") for name in ("home", "desk")}
    deployments = {
        "home": Deployment("home", "a@1", Canary("b@2", 0.1, 0), shadows=("c@3",)),
        "desk": Deployment("desk", None, shadows=("a@1", "d@1")),
    }
    built = Catalogue(1, placements=places, deployments=deployments)
    assert built.champions == {"a@1"}
    assert built.deployed == {"a@1", "b@2", "c@3", "d@1"}


def test_live_offers_and_how_long_contacts_matter() -> None:
    day_s, week_ms = 86_400, 7 * 86_400_000
    assert catalogue_with([]).history_ms == 0
    silent = offer(1, transactional=True)
    assert catalogue_with([silent]).history_ms == 0
    assert catalogue_with([silent, offer(2)]).history_ms == week_ms
    long = [
        offer(1, contact_limits=(ContactLimit(1, 8 * day_s),)),
        offer(2, not_after=(NotAfter(9 * day_s, offer="o1"),), starts_ms=NOW_MS + 1),
        offer(3, after_rejection=(AfterRejection(10 * day_s),), ends_ms=NOW_MS),
    ]
    found = [catalogue_with(long[:n]).history_ms // 86_400_000 for n in (1, 2, 3)]
    assert found == [8, 9, 10]
    assert [o.offer_id for o in catalogue_with(long).live_offers(NOW_MS)] == ["o1"]


def test_catalogues_with_the_same_vocabulary_share_a_checker() -> None:
    first, second = build_catalogue(1, SHOP, NUMBERS), build_catalogue(2, SHOP, NUMBERS)
    assert first.checker is second.checker
    assert checker_for((), ()) is not first.checker
    other = build_catalogue(3, with_entry("attribute", "customer.size", {"type": "number"}), NUMBERS)
    assert other.checker is not first.checker


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        (("customer.agee",), "log_facts.0", "not in the vocabulary; did you mean 'customer.age'?"),
        (("customer.age", "context.mood"), "log_facts.1", "PUT /v1/attributes/context.mood"),
        (("offer.margin",), "log_facts.0", "a fact of offers"),
        (("customer.age", "customer.age"), "log_facts.1", "named twice"),
        (("customer.age",) * 33, "log_facts", "at most 32 facts, not 33"),
    ],
)
def test_facts_that_a_placement_logs_are_in_the_vocabulary(
    asked: tuple[str, ...], field: str, said: str
) -> None:
    catalogue_with([], {"log_facts": ("customer.age", "customer.interests", "context.reason")})
    with pytest.raises(Invalid, match=re.escape(said)) as refused:
        catalogue_with([], {"log_facts": asked})
    assert refused.value.field.endswith(field)
