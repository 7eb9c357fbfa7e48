"""Signals: which offers they close, when, and what is remembered of them. Over HTTP: contract/test_signals.py."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog_check import check_entry
from decisioning.catalog.catalogue import Catalogue, build_catalogue
from decisioning.catalog.yaml_document import from_yaml
from decisioning.contact.history import contacts_of_decision, signal_contact
from decisioning.contact.signals import Signal, lasting_signals, logged_signals
from decisioning.decide.eligibility import allowed, eligible_defaults, held_signals, stops_of
from decisioning.errors import Invalid
from decisioning.log.codec import decode_decision, encode_decision, history_member, parse_history
from decisioning.model.decision import Contact
from decisioning.model.entities import Group, Placement, Treatment
from decisioning.model.outcome import Reason
from profiles.customer import OfferScope, Profile, Suppression
from tests.support.decided import decision
from tests.support.shop import ATTRIBUTES, NOW_MS, catalogue_with, inputs_of, offer

PAGE = (Path(__file__).parents[4] / "docs" / "signals.md").read_text(encoding="utf-8")
GROUPS = {
    "cards": Group("cards", "Cards", "grow"),
    "loans": Group("loans", "Loans", "acquire"),
    "help": Group("help", "Help", "serve"),
}
GOAL_OF = {name: group.goal for name, group in GROUPS.items()}
OFFERS = [
    offer(1),
    offer(2, group="loans"),
    offer(3, group="help"),
    offer(4, group="cards", transactional=True),
    offer(5, group="loans"),
]
LEAVING = "context.reason == 'cancel'"
CANCEL = {"reason": "cancel"}


def world(*signals: Signal, **placement: Any) -> Catalogue:
    """A catalogue with these signals."""
    return catalogue_with(
        OFFERS,
        groups=GROUPS,
        placements={"home": Placement("home", "web", **placement), "desk": Placement("desk", "agent")},
        reasons={"peace": Reason("peace", "Leave in peace")},
        signals={signal.signal_id: signal for signal in signals},
    )


def signal(name: str = "leaving", when: str = LEAVING, **fields: Any) -> Signal:
    """A signal."""
    return Signal(name, when, "peace", **fields)


def left(catalogue: Catalogue, **fields: Any) -> list[str]:
    """The offers that a request may get; the mask, the reasons and the defaults say the same."""
    inputs = inputs_of(catalogue, **fields)
    mask = allowed(inputs)
    assert [not stops_of(inputs, row) for row in range(len(mask))] == mask.tolist()
    assert np.array_equal(eligible_defaults(inputs), mask)
    return [o.offer_id for o, kept in zip(inputs.view.offers, mask, strict=True) if kept]


def names(values: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    """Some of the values."""
    return st.lists(st.sampled_from(values), unique=True, max_size=2).map(tuple)


SCOPES = st.builds(
    OfferScope,
    goals=names(("grow", "acquire", "serve", "retain")),
    groups=names(tuple(GROUPS)),
    offers=names(("o1", "o2", "o3", "o4", "o5")),
    channels=names(("web", "agent")),
    except_goals=names(("serve", "grow")),
    except_groups=names(("help", "loans")),
).filter(lambda s: not (set(s.goals) & set(s.except_goals) or set(s.groups) & set(s.except_groups)))


@given(SCOPES, st.sampled_from(("web", "agent")), st.booleans(), st.booleans())
def test_exactly_the_offers_in_scope_are_closed_in_the_channels_in_scope(
    scope: OfferScope, channel: str, now: bool, before: bool
) -> None:
    both = tuple(Treatment(c, c, "en", "Title", "") for c in ("web", "agent"))
    offers = [offer(o.number, group=o.group, transactional=o.transactional, treatments=both) for o in OFFERS]
    one = signal(scope=scope, lasts_s=60)
    catalogue = catalogue_with(
        offers,
        groups=GROUPS,
        reasons={"peace": Reason("peace")},
        signals={"leaving": one},
        placements={"home": Placement("home", channel)},
    )
    history = [signal_contact("leaving", NOW_MS - 59_999)] if before else []
    found = left(catalogue, context=CANCEL if now else {}, history=history)
    expected = []
    for each in offers:
        named = scope.goals or scope.groups or scope.offers
        inside = not named or (
            GOAL_OF[each.group] in scope.goals or each.group in scope.groups or each.offer_id in scope.offers
        )
        out = GOAL_OF[each.group] in scope.except_goals or each.group in scope.except_groups
        here = not scope.channels or channel in scope.channels
        closed = (now or before) and inside and not out and here and not each.transactional
        if not closed:
            expected.append(each.offer_id)
    assert found == expected


def test_a_signal_ends_when_it_says() -> None:
    one = world(signal(lasts_s=60))
    assert left(one, history=[signal_contact("leaving", NOW_MS - 59_999)]) == ["o4"]
    assert left(one, history=[signal_contact("leaving", NOW_MS - 60_000)]) == ["o1", "o2", "o3", "o4", "o5"]
    assert left(world(signal()), history=[signal_contact("leaving", NOW_MS)]) == [o.offer_id for o in OFFERS]
    assert one.history_ms >= 60_000


def test_a_stop_names_the_signal_the_reason_and_the_end() -> None:
    inputs = inputs_of(
        world(signal(lasts_s=60)), context=CANCEL, history=[signal_contact("leaving", NOW_MS - 1)]
    )
    now, before = stops_of(inputs, 0)
    assert (now.stage, now.name, now.observed) == ("signal", "signal leaving", "Leave in peace")
    assert now.required == f"not while {LEAVING}"
    assert (before.stage, before.name, before.observed) == ("signal", "signal leaving", "Leave in peace")
    assert before.allowed_again_ms == NOW_MS + 59_999


@pytest.mark.parametrize(
    ("when", "fields", "placement", "closed"),
    [
        ("history.shown('o1', '5d')", {}, {}, True),
        ("history.shown('o1', '5d')", {"unread": "allow"}, {}, False),
        ("history.shown('o1', '5d')", {}, {"without_history": "allow"}, False),
        (LEAVING, {}, {}, False),
        (LEAVING, {"lasts_s": 60}, {}, True),
        (LEAVING, {"lasts_s": 60}, {"without_history": "allow"}, False),
    ],
)
def test_without_the_history_what_a_signal_protects_is_withheld(
    when: str, fields: dict[str, Any], placement: dict[str, Any], closed: bool
) -> None:
    catalogue = world(signal(when=when, scope=OfferScope(groups=("loans",)), **fields), **placement)
    found = left(catalogue, history=None)
    assert found == [o.offer_id for o in OFFERS if not closed or o.group != "loans"]


def test_without_the_profile_what_a_signal_on_it_protects_is_withheld() -> None:
    inputs = inputs_of(world(signal(when="customer.age < 18"), signal("other")), history=())
    hidden = replace(inputs, profile=Profile.unreadable("c"))
    assert [(held.signal.signal_id, known) for held, known in held_signals(hidden)] == [("leaving", False)]
    assert held_signals(inputs) == []


def test_what_is_remembered_is_what_held_and_lasts_wherever_its_offers_are() -> None:
    elsewhere = OfferScope(channels=("agent",))
    catalogue = world(
        signal(lasts_s=60),
        signal("brief"),
        signal("elsewhere", lasts_s=90, scope=elsewhere),
        signal("not-now", when="context.reason == 'bill'", lasts_s=30),
    )
    inputs = inputs_of(catalogue, context=CANCEL)
    prepared = inputs.view.contact.signals
    held = [one for one, _ in held_signals(inputs)]
    logged, noted = logged_signals(prepared, held, [signal_contact("not-now", NOW_MS - 10_000)], NOW_MS)
    assert [(s.signal, s.name, s.until_ms) for s in logged] == [
        ("leaving", "Leave in peace", NOW_MS + 60_000),
        ("brief", "Leave in peace", None),
        ("not-now", "Leave in peace", NOW_MS + 20_000),
    ]
    assert noted == ("leaving", "elsewhere")


def test_the_newest_of_what_is_remembered_counts() -> None:
    history = [signal_contact("a", 1_000), signal_contact("a", 3_000), Contact(1, 4_000)]
    signals = [signal("a", lasts_s=2), signal("b", lasts_s=2), signal("c")]
    assert list(lasting_signals(signals, history, 4_999)) == [("a", 3_000, 5_000)]
    assert list(lasting_signals(signals, history, 5_000)) == []


def test_a_contact_of_a_signal_is_read_as_it_was_written() -> None:
    contact = signal_contact("leaving", 5)
    member = history_member(contact, "nb001-00:x").encode()
    assert member == b"0:::s:signal/leaving:nb001-00:x"
    assert parse_history([member, b"5"]) == [contact]


def test_the_record_of_a_decision_has_the_contacts_of_its_signals() -> None:
    made = decision(noted=("leaving",))
    again = decode_decision(encode_decision(made))
    kept = [k.contact for k in contacts_of_decision(again, ()) if k.contact.kind == "s"]
    assert kept == [signal_contact("leaving", made.decided_at_ms)]


def test_a_reason_that_is_not_declared_is_refused() -> None:
    with pytest.raises(Invalid, match="reason 'peac'"):
        catalogue_with(OFFERS, groups=GROUPS, signals={"x": Signal("x", LEAVING, "peac")})


def test_the_page_has_a_catalogue_that_can_be_loaded() -> None:
    block, reasons = re.findall(r"```yaml\n(nextbest: 1\nreasons.*?)```", PAGE, re.DOTALL)
    catalogue = build_catalogue(1, from_yaml(block, check_entry), {})
    told = build_catalogue(1, from_yaml(reasons, check_entry), {})
    assert told.checker.vocabulary.attributes["context.reason"].values == ("bill", "fault")
    assert told.told_reasons == (("reason",),)
    assert sorted(catalogue.signals) == ["angry", "complaining", "detractor", "influencer"]
    assert set(ATTRIBUTES) >= {"context.reason"}


@given(SCOPES, st.sampled_from(("web", "agent")))
def test_an_entry_with_a_scope_closes_what_a_signal_with_it_closes(scope: OfferScope, channel: str) -> None:
    both = tuple(Treatment(c, c, "en", "Title", "") for c in ("web", "agent"))
    offers = [offer(o.number, group=o.group, treatments=both) for o in OFFERS]
    placements = {"home": Placement("home", channel)}
    parts: dict[str, Any] = {"groups": GROUPS, "placements": placements}
    listed = inputs_of(catalogue_with(offers, **parts))
    entry = Suppression("sales", "asked for it", NOW_MS + 5, 0, scope)
    customer = replace(listed.profile.customer, suppressions=(entry,))
    listed = replace(listed, profile=replace(listed.profile, customer=customer))
    reasons = {"peace": Reason("peace")}
    signalled = catalogue_with(offers, **parts, reasons=reasons, signals={"leaving": signal(scope=scope)})
    closing = inputs_of(signalled, context=CANCEL)
    assert allowed(listed).tolist() == allowed(closing).tolist()
    for row, free in enumerate(allowed(listed)):
        stops = [(s.stage, s.name, s.allowed_again_ms) for s in stops_of(listed, row)]
        assert stops == ([] if free else [("suppression", "sales", NOW_MS + 5)])
    assert allowed(replace(listed, now_ms=NOW_MS + 5)).all()
