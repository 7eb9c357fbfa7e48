"""What a replacement loses, by the descriptors of the kinds."""

from dataclasses import fields

import pytest

from decisioning.catalog.kinds import KINDS
from decisioning.catalog.losses import Loss, check_confirmed, losses_between
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


def test_what_is_not_in_use_loses_nothing() -> None:
    for status in ("draft", "ended"):
        before = OFFER | {"status": status}
        assert losses_between(KINDS["offer"], "gold", before, {"name": "x", "group": "y", "value": 1.0}) == []


def test_losses_are_confirmed_by_word_or_field_of_a_known_version() -> None:
    losses = lost(rules=[], ends_ms=None)
    check_confirmed("offer 'gold'", [], (), version_is_known=False)
    check_confirmed("offer 'gold'", losses, {"rules", "end"}, version_is_known=True)
    check_confirmed("offer 'gold'", losses, {"rules", "ends_at"}, version_is_known=True)
    for confirmed, known, named in ((("rules",), True, 1), (("rules", "end"), False, 2)):
        with pytest.raises(UnconfirmedRemoval, match="confirm_removal=rules,end") as caught:
            check_confirmed("offer 'gold'", losses, confirmed, version_is_known=known)
        assert len(caught.value.lost) == named
