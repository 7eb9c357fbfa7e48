"""Reasons that stop an offer: preferences, exclusions, suppression lists, histories that cannot be read."""

from dataclasses import replace

import numpy as np
import pytest

from decisioning.contact.placement_limits import PlacementLimits
from decisioning.model.decision import Contact
from decisioning.model.entities import ContactPolicy, Offer
from profiles.customer import Scalar, Suppression
from storage.clock import DAY_MS
from tests.support import contact_world as world

NOW_MS = 1_800_000_000_000


def book(offers: dict[str, Offer] | None = None, channel: str = "web", **placement: str) -> PlacementLimits:
    """The contact book of a placement without contact policies."""
    changed = {channel: replace(world.PLACEMENTS[channel], **placement)}  # type: ignore[arg-type]  # fields of it
    return world.catalogue(offers or world.OFFERS, {}, placements=changed).view(channel).contact


def seen(offer_id: str, ago_ms: int, kind: str = "d", channel: str = "web") -> Contact:
    """A contact with an offer."""
    offer = world.OFFERS[offer_id]
    return Contact(offer.number, NOW_MS - ago_ms, offer.group, world.GROUPS[offer.group].goal, kind, channel)


def names(mask: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> set[str]:
    """The offers of a mask."""
    return {name for name, offer in world.OFFERS.items() if mask[offer.number - 1]}


ALL = set(world.OFFERS)


@pytest.mark.parametrize(
    ("wish", "ago_ms", "allowed"),
    [
        ({"max_contacts_per_day": 1}, DAY_MS - 1, False),
        ({"max_contacts_per_day": 1}, DAY_MS, True),
        ({"max_contacts_per_day": 1.9}, 0, False),
        ({"max_contacts_per_day": 2}, 0, True),
        ({"max_contacts_per_week": 1}, 7 * DAY_MS - 1, False),
        ({"max_contacts_per_week": 1}, 7 * DAY_MS, True),
        ({"min_gap_s": 0.5}, 499, False),
        ({"min_gap_s": 0.5}, 500, True),
        ({"min_gap_s": 1e12}, 7 * DAY_MS - 1, False),
        ({"min_gap_s": -5}, 0, True),
        ({"max_contacts_per_day": True}, 0, True),
        ({"max_contacts_per_day": "1"}, 0, True),
        ({"max_contacts_per_day": -1}, 30 * DAY_MS, False),
    ],
)
def test_a_customers_own_wishes(wish: dict[str, Scalar], ago_ms: int, allowed: bool) -> None:
    who = world.customer("ann", attributes=wish)
    found = names(book().allowed(who, [seen("news", ago_ms)], NOW_MS))
    assert found == (ALL if allowed else {"bill"})


def test_nobody_may_be_contacted_who_wishes_so() -> None:
    who = world.customer("ann", attributes={"max_contacts_per_week": 0})
    assert names(book().allowed(who, [], NOW_MS)) == {"bill"}
    (stop,) = book().stops(0, who, [], NOW_MS)
    assert (stop.name, stop.allowed_again_ms) == ("preference max_contacts_per_week", None)
    assert book().limited(0, who)


def test_a_rejection_suppresses_what_is_related() -> None:
    who = world.customer("ann")
    history = [seen("gold", 5_000, "r")]
    assert names(book().allowed(who, history, NOW_MS)) == ALL - {"gold", "blue"}
    (stop,) = book().stops(1, who, history, NOW_MS)
    assert (stop.stage, stop.name) == ("exclusion", "after a rejection (same group)")
    assert stop.required == {"none_within_s": 30}
    assert stop.allowed_again_ms == NOW_MS + 25_000
    assert names(book().allowed(who, [seen("home", 59_999, "r")], NOW_MS)) == ALL - {"home", "car", "news"}
    assert names(book().allowed(who, [seen("bill", 0, "R")], NOW_MS)) == ALL - {"bill"}
    assert names(book().allowed(who, [seen("news", 0, "r")], NOW_MS)) == ALL


def test_a_rejection_elsewhere_counts_too() -> None:
    """An offer that is not in this placement suppresses its relatives here."""
    offers = dict(world.OFFERS)
    offers["gold"] = replace(offers["gold"], treatments=(world.TREATMENTS[1],))
    here = book(offers)
    view_offers = [o for o in offers.values() if o.offer_id != "gold"]
    mask = here.allowed(world.customer("ann"), [seen("gold", 0, "r", "phone")], NOW_MS)
    assert {o.offer_id for o, ok in zip(view_offers, mask, strict=True) if not ok} == {"blue", "car"} - {
        "car"
    }


def test_not_after() -> None:
    who = world.customer("ann")
    assert names(book().allowed(who, [seen("home", 19_999, "a")], NOW_MS)) == ALL - {"blue"}
    assert names(book().allowed(who, [seen("home", 20_000, "a")], NOW_MS)) == ALL
    assert names(book().allowed(who, [seen("blue", 14_999)], NOW_MS)) == ALL - {"car"}


def test_a_policy_of_a_channel_is_about_that_channel() -> None:
    policy = {"calls": ContactPolicy("calls", "one call", 1, 60, scope="all", channels=("phone",))}
    catalogue = world.catalogue(policies=policy)
    history = [seen("news", 20_000, "d", "phone")]
    who = world.customer("ann")
    assert names(catalogue.view("web").contact.allowed(who, history, NOW_MS)) == ALL
    assert names(catalogue.view("phone").contact.allowed(who, history, NOW_MS)) == {"bill"}
    assert names(catalogue.view("phone").contact.allowed(who, [seen("news", 20_000)], NOW_MS)) == ALL


def test_without_history() -> None:
    who, wishing = world.customer("ann"), world.customer("bob", attributes={"max_contacts_per_day": 3})
    assert names(book().allowed(who, None, NOW_MS)) == set()
    plain = {name: world.offer(o.number, name, o.group) for name, o in world.OFFERS.items()}
    plain["gold"] = world.OFFERS["gold"]
    plain["bill"] = replace(plain["bill"], transactional=True)
    assert names(book(plain).allowed(who, None, NOW_MS)) == ALL - {"gold", "blue"}
    assert names(book(plain).allowed(wishing, None, NOW_MS)) == {"bill"}
    assert names(book(plain, without_history="allow").allowed(wishing, None, NOW_MS)) == ALL
    (stop,) = book(plain).stops(5, wishing, None, NOW_MS)
    assert (stop.name, stop.observed) == (
        "preference max_contacts_per_day",
        "the contact history cannot be read",
    )


def test_a_suppressed_customer_gets_what_the_law_or_a_contract_asks_for() -> None:
    offers = dict(world.OFFERS)
    offers["bill"] = replace(offers["bill"], legal_basis="contract")
    offers["news"] = replace(offers["news"], legal_basis="legal_obligation")  # but not transactional
    until = Suppression("complaints", "an open complaint", NOW_MS + 1, 0)
    who = world.customer("ann", [until])
    assert names(book(offers).allowed(who, [], NOW_MS)) == {"bill"}
    assert (
        names(book(offers).allowed(who, None, NOW_MS)) == set()
    )  # bill has an exclusion that needs the history
    assert names(book(offers).allowed(who, [], NOW_MS + 1)) == ALL
    for_ever = replace(until, until_ms=None)
    assert names(book(offers).allowed(world.customer("ann", [for_ever]), [], NOW_MS * 2)) == {"bill"}
    (stop,) = book(offers).stops(5, who, [], NOW_MS)
    assert (stop.stage, stop.name, stop.observed) == ("suppression", "complaints", "an open complaint")
    assert stop.allowed_again_ms == NOW_MS + 1
    assert names(book().allowed(who, [], NOW_MS)) == set()  # consent is no such basis


def test_lists_that_cannot_be_read_stop_what_needs_a_permission() -> None:
    offers = dict(world.OFFERS)
    offers["gold"] = replace(offers["gold"], requires_consent="ads")
    offers["blue"] = replace(offers["blue"], requires_consent="ads", legal_basis="legitimate_interest")
    offers["home"] = replace(offers["home"], requires_consent="service", legal_basis="contract")
    mask = book(offers).allowed(world.customer("ann", None), [], NOW_MS)
    assert names(mask) == ALL - {"gold", "blue"}


def test_what_is_not_limited_needs_no_history() -> None:
    offers = {"bill": replace(world.OFFERS["bill"], after_rejection=())}
    catalogue = world.catalogue(offers, {})
    assert not catalogue.view("web").contact.needed
    assert catalogue.history_ms == 0
    assert book().needed
    assert book().history_ms == 7 * DAY_MS


def test_contacts_are_kept_as_long_as_they_matter() -> None:
    policy = {"p": ContactPolicy("p", "p", 1, 10 * 86_400, suppress_s=5 * 86_400)}
    assert world.catalogue(policies=policy).history_ms == 15 * DAY_MS


LETTER = ContactPolicy("letter", "one card", 1, 60, scope="group", applies_to="cards", per="household")


def shared_book(**placement: str) -> PlacementLimits:
    """The contact book of a placement with a policy per household, and no limit besides."""
    offers = {name: world.offer(o.number, name, o.group) for name, o in world.OFFERS.items()}
    changed = {"web": replace(world.PLACEMENTS["web"], **placement)}  # type: ignore[arg-type]  # fields of it
    return world.catalogue(offers, {"letter": LETTER}, placements=changed).view("web").contact


def test_contacts_of_the_household_count_beside_the_customers_own() -> None:
    limits, who = shared_book(), world.customer()
    assert limits.counts_households
    assert {name for name, o in world.OFFERS.items() if limits.limited_together(o.number - 1)} == {
        "gold",
        "blue",
    }
    others = ALL - {"gold", "blue"}
    assert names(limits.allowed(who, [], NOW_MS, [seen("gold", 1)])) == others
    assert names(limits.allowed(who, [seen("gold", 1)], NOW_MS)) == others
    assert names(limits.allowed(who, [], NOW_MS, [seen("home", 1), seen("gold", 60_000)])) == ALL
    (stop,) = limits.stops(0, who, [seen("blue", 7)], NOW_MS, [seen("gold", 1), seen("gold", 2)])
    assert (stop.name, stop.observed, stop.allowed_again_ms) == ("one card", 2, NOW_MS - 1 + 60_000)
    assert stop.required == {"max": 1, "window_s": 60, "per": "household"}
    assert not book().counts_households


def test_limits_per_household_fail_closed_unless_the_placement_says_otherwise() -> None:
    who = world.customer()
    limits = shared_book()
    assert names(limits.allowed(who, [], NOW_MS, None)) == ALL - {"gold", "blue"}
    (stop,) = limits.stops(0, who, [], NOW_MS, None)
    assert stop.observed == "the contact history cannot be read"
    lenient = shared_book(without_history="allow")
    assert names(lenient.allowed(who, [], NOW_MS, None)) == ALL
    assert lenient.stops(0, who, [], NOW_MS, None) == []


def test_a_slot_leaves_no_room_for_others_that_the_household_counts_with_it() -> None:
    two = replace(LETTER, max=2)
    offers = {name: world.offer(o.number, name, o.group) for name, o in world.OFFERS.items()}
    limits = world.catalogue(offers, {"letter": two}).view("web").contact
    for household, expected in (([], ALL), ([seen("gold", 1)], ALL - {"gold", "blue"})):
        left = np.ones(len(ALL), dtype=bool)
        limits.block_after([0], world.customer(), [], NOW_MS, left, household)
        assert names(left) == expected
