"""What a replacement loses, by the descriptors of the kinds."""

from dataclasses import fields
from typing import Any

import pytest

from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.checking.losses import Loss, check_confirmed, inherited_losses, losses_between
from decisioning.catalog.kinds import KINDS
from decisioning.errors import UnconfirmedRemoval

RULE = {"name": "adult", "tier": "eligibility", "when": "customer.age >= 18"}
OFFER = {
    "name": "Gold",
    "group": "cards",
    "value": 1.0,
    "rules": [RULE],
    "contact_limits": [{"max": 3, "window_s": 60}],
    "not_after": [{"within_s": 60, "group": "cards"}],
    "ends_ms": 1_777_593_600_000,
}


def lost(**changes: object) -> list[Loss]:
    """Return what the offer loses by changes; ``None`` takes a field away."""
    after = {name: value for name, value in (OFFER | changes).items() if value is not None}
    return losses_between(KINDS["offer"], "gold", OFFER, after)


@pytest.mark.parametrize("kind", KINDS)
def test_protective_fields_are_fields_of_their_kind(kind: str) -> None:
    names = {field.name for field in fields(KINDS[kind].cls)}
    assert {protective.field for protective in KINDS[kind].protective} <= names


def test_what_is_edited_is_not_lost() -> None:
    assert lost(name="Aurum") == []
    assert lost(rules=[RULE | {"name": "of age"}]) == []
    assert lost(rules=[RULE | {"when": "customer.age >= 21"}]) == []
    assert lost(contact_limits=[{"max": 5, "window_s": 60}]) == []
    assert lost(not_after=[{"within_s": 90, "group": "cards"}]) == []
    assert lost(ends_ms=1_777_593_600_001) == []
    assert losses_between(KINDS["offer"], "gold", None, OFFER) == []
    assert losses_between(KINDS["offer"], "gold", OFFER, None) == []


def test_what_is_lost_is_named() -> None:
    assert lost(rules=[]) == [Loss("rules", "rules", ("'adult'",))]
    assert lost(contact_limits=[{"max": 3, "window_s": 90}])[0].items == ("{'max': 3, 'window_s': 60}",)
    assert lost(ends_ms=None) == [Loss("ends_at", "end", ("2026-05-01T00:00:00+00:00",))]
    assert lost(not_after=[{"within_s": 60, "offer": "gold"}])[0].word == "exclusions"


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        ("capacity", {"overbook": 0}, {}, ["overbook: 0"]),
        ("capacity", {"overbook": 0}, {"overbook": None}, ["overbook: 0"]),
        ("capacity", {"overbook": None}, {}, []),
        ("capacity", {"overbook": None}, {"overbook": 0}, []),
        ("capacity", {"overbook": 3}, {"overbook": 0}, []),
        ("capacity", {"once_per_customer": False}, {}, ["once_per_customer: False"]),
        ("capacity", {"keep_for_value": False}, {}, []),
        ("contact_policy", {"per": "household"}, {}, ["per: 'household'"]),
        ("attribute", {"classification": "sensitive"}, {}, ["classification: 'sensitive'"]),
        ("trigger", {"again_after_s": 86_400}, {}, []),
        (
            "trigger",
            {"again_after_s": 604_800, "within_s": 60},
            {},
            ["within_s: 60", "again_after_s: 604800"],
        ),
        ("event", {"personal": ["caller", "iban"]}, {"personal": ["iban"]}, ["personal: 'caller'"]),
        ("event", {"contact": {"channel": "agent"}}, {}, ["contact: {'channel': 'agent'}"]),
        ("reason", {"suppress": [{"for_s": 60}]}, {"suppress": [{"for_s": 90, "scope": "offer"}]}, []),
        (
            "outcome",
            {"suppress": [{"for_s": 60}, {"for_s": 90, "scope": "all"}]},
            {"suppress": [{"for_s": 60}]},
            ["suppress: {'for_s': 90, 'scope': 'all'}"],
        ),
    ],
)
def test_what_other_kinds_lose(
    kind: str, before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    needed: dict[str, dict[str, Any]] = {
        "attribute": {"type": "string"},
        "capacity": {"name": "Calls", "max": 3},
        "contact_policy": {"name": "Two", "max": 2, "window_s": 60},
        "event": {"name": "Call"},
        "trigger": {"on": {"event": "call"}, "deliver": {"stream": "calls"}, "placement": "home"},
    }
    bodies = [needed.get(kind, {}) | some for some in (before, after)]
    assert [str(loss) for loss in losses_between(KINDS[kind], "one", *bodies)] == expected


def test_what_is_not_in_use_loses_nothing() -> None:
    for status in ("draft", "ended"):
        before = OFFER | {"status": status}
        assert losses_between(KINDS["offer"], "gold", before, {"name": "x", "group": "y", "value": 1.0}) == []


def test_an_offer_in_use_that_becomes_a_draft_loses_what_it_lacks() -> None:
    scheduled = OFFER | {"status": "scheduled", "starts_ms": 1, "requires_consent": "marketing"}
    draft = {name: value for name, value in OFFER.items() if name != "rules"} | {"status": "draft"}
    found = losses_between(KINDS["offer"], "gold", scheduled, draft)
    assert [loss.field for loss in found] == ["requires_consent", "rules"]
    assert losses_between(KINDS["offer"], "gold", scheduled, draft | {"status": "ended"}) == []


GUARDED: dict[str, Any] = {
    "requires_consent": "marketing",
    "rules": [RULE | {"when": "customer.known"}],
    "contact_limits": [{"max": 3, "window_s": 60}],
}
THINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("group", "cards"): {"name": "Cards", "goal": "grow", **GUARDED},
    ("group", "bare"): {"name": "Bare", "goal": "serve"},
    ("goal", "grow"): {"requires_consent": "profiling"},
    ("offer", "gold"): {"name": "Gold", "group": "cards", "value": 1.0},
}


def inherited(kind: str, name: str, after: dict[str, Any] | None, **before: object) -> list[str]:
    """Return what offers lose of what they inherit, in words; ``before``: fields of the thing that is changed."""
    old = THINGS[kind, name] | before
    bodies: dict[tuple[str, str], dict[str, Any] | None] = {**THINGS, (kind, name): after}
    entries = [(*key, body) for key, body in bodies.items()]
    catalogue = build_catalogue(1, entries, {"gold": 1})
    return [str(loss) for loss in inherited_losses(KINDS[kind], name, old, after, catalogue)]


def test_an_offer_in_another_group_loses_what_it_inherited() -> None:
    moved = THINGS["offer", "gold"] | {"group": "bare"}
    assert inherited("offer", "gold", moved) == [
        "requires_consent: 'marketing' of group cards, 'profiling' of goal grow",
        "rules: 'adult' of group cards",
        "contact_limits: 3 in 60 s of group cards",
    ]
    assert inherited("offer", "gold", moved | GUARDED) == ["requires_consent: 'profiling' of goal grow"]
    weaker = moved | GUARDED | {"legal_basis": "legitimate_interest", "contact_limits": []}
    assert inherited("offer", "gold", weaker)[:2] == [
        "legal_basis: 'consent' of group cards",
        "contact_limits: 3 in 60 s of group cards",
    ]
    assert inherited("offer", "gold", moved | {"status": "draft"}) == inherited("offer", "gold", moved)
    assert inherited("offer", "gold", moved | {"status": "ended"}) == []
    assert inherited("offer", "gold", moved, status="draft") == []
    assert inherited("offer", "gold", THINGS["offer", "gold"]) == []


def test_a_group_of_another_goal_and_a_goal_that_is_deleted_take_from_their_offers() -> None:
    profiling = ["requires_consent: 'profiling' of goal grow"]
    assert inherited("group", "cards", {"name": "Cards", "goal": "serve"}) == profiling
    assert inherited("group", "cards", {"name": "Cards", "goal": "grow"}) == []
    assert inherited("goal", "grow", None) == profiling
    assert inherited("goal", "grow", {"lever": 1.0}) == []
    assert inherited("group", "bare", {"name": "Bare", "goal": "grow"}) == []


def test_losses_are_confirmed_by_word_or_field_of_a_known_version() -> None:
    losses = lost(rules=[], ends_ms=None)
    check_confirmed("offer 'gold'", [], (), version_is_known=False)
    check_confirmed("offer 'gold'", losses, {"rules", "end"}, version_is_known=True)
    check_confirmed("offer 'gold'", losses, {"rules", "ends_at"}, version_is_known=True)
    for confirmed, known, named in ((("rules",), True, 1), (("rules", "end"), False, 2)):
        with pytest.raises(UnconfirmedRemoval, match="confirm_removal=rules,end") as caught:
            check_confirmed("offer 'gold'", losses, confirmed, version_is_known=known)
        assert len(caught.value.lost) == named
