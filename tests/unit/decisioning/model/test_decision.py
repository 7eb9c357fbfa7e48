"""The record of a decision: its names, its policy, its identity, and fields that are absent."""

import msgspec
from msgspec import structs

from decisioning.model.decision import DecidedOffer, Decision, DecisionContacts, LoggedPolicy, OfferContact
from tests.support.decided import NOW_MS, decision
from tests.support.logged import ACCEPTED


def test_a_logged_group_outranks_all_that_tells_it_of_early_records() -> None:
    assert decision(logged_group="caller", control=True, source="history").group == "caller"
    assert decision(control=True, source="history").group == "imported"


def test_it_was_scored_by_its_own_policy_unless_another_is_logged() -> None:
    mine, caller = LoggedPolicy.of("a@b@12"), LoggedPolicy("caller", 1)
    assert (mine.name, mine.version) == ("a@b", 12)
    assert decision(policy=mine).scorer == "a@b@12"
    answered = decision(policy=caller, scored_by=mine)
    assert (answered.policy.key, answered.scorer) == ("caller@1", "a@b@12")


def test_decisions_of_one_id_differ_by_their_time() -> None:
    assert decision("d").identity == decision("d", customer_id="bob").identity == ("d", NOW_MS, None, None)
    assert decision("d").identity != decision("d", decided_at_ms=NOW_MS + 1).identity


def test_only_a_withdrawal_at_its_own_time_takes_it_back() -> None:
    withdrawn = structs.replace(ACCEPTED, outcome="withdrawn", decided_at_ms=NOW_MS)
    accepted = structs.replace(withdrawn, outcome="accepted")
    assert decision().is_taken_back([accepted, withdrawn])
    assert not decision().is_taken_back([accepted])
    assert not decision(decided_at_ms=NOW_MS + 1).is_taken_back([withdrawn])  # the id was used again


def test_contacts_of_offers_are_those_logged() -> None:
    offers = (DecidedOffer("gold", 1), DecidedOffer("news", 2))
    contacts = OfferContact("cards", "grow"), OfferContact("letters", "serve", counts=False)
    logged = decision(offers=offers, numbers=(1, 2), contacts=DecisionContacts(1000, None, contacts))
    assert logged.offer_contacts() == contacts
    assert decision().offer_contacts() == ()


def test_absent_fields_are_neither_written_nor_needed() -> None:
    made = decision()
    written = msgspec.json.decode(msgspec.json.encode(made))
    absent = {"group", "expected", "facts", "contact", "seen", "wanted", "over_budget", "failed", "defaults"}
    assert not absent & set(written)
    assert {"channel", "limit", "feedback_until"} <= set(written)  # null is said where it always was
    read = msgspec.json.decode(msgspec.json.encode(written | {"of_a_later_version": 1}), type=Decision)
    assert read == made
    assert (read.capacity, read.scored_by, read.segments, read.nothing_right_now) == (None, None, None, None)
