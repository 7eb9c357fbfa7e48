"""The record of a decision of an erased customer: nothing of what was known of a person is left in it."""

from typing import Any

from decisioning.log.codec import decode_decision, encode_decision
from decisioning.model.decision import (
    Contact,
    CustomerSnapshot,
    DecidedOffer,
    Decision,
    LoggedPolicy,
    PolicyFailure,
    RenderedObjection,
    RenderedScript,
    RenderedStep,
    RenderedTreatment,
    SnapshotSuppression,
)
from decisioning.privacy.pseudonym import pseudonymise, pseudonymise_unreadable

SECRET = "Zanzibar"
SCRIPT = RenderedScript((RenderedStep("why", SECRET),), (RenderedObjection(SECRET, SECRET),))
TREATMENT = RenderedTreatment(
    "banner", "web", "en", SECRET, SECRET, SECRET, SCRIPT, SECRET, SECRET, SECRET, {"a": SECRET}
)
CONTACT = Contact(3, 7, "cards", "grow", "d", "web")


def decision(**fields: Any) -> Decision:
    """A decision with something personal wherever it may stand."""
    offer = DecidedOffer("gold", 1, 1.5, None, 0.5, TREATMENT)
    everything: dict[str, Any] = {
        "decision_id": "one",
        "customer_id": SECRET,
        "placement": "home",
        "channel": "web",
        "presentation": "implicit",
        "policy": LoggedPolicy("calibrated", 1),
        "control": False,
        "catalog_version": 4,
        "epoch": 9,
        "decided_at_ms": 1,
        "until_ms": 2,
        "context": {"page": SECRET},
        "limit": None,
        "slots": 1,
        "offers": (offer,),
        "numbers": (3,),
        "facts": {"customer.city": SECRET},
        "degraded": (),
        "feedback_until": None,
        "source": "live",
        "default_offers": (offer,),
        "household": SECRET,
        "failure": PolicyFailure("thompson@1", SECRET),
        "customer_snapshot": CustomerSnapshot(
            known=True,
            attributes={"name": SECRET, "time_zone": SECRET, "max_contacts_per_day": 2},
            indicators={SECRET: 1.0},
            interests={SECRET: 1.0},
            holdings=(SECRET,),
            consents={SECRET: (SECRET,)},
            history=(CONTACT,),
            suppressions=(SnapshotSuppression(SECRET, SECRET, None, 1),),
            unlikely=((3, 0.1),),
        ),
    }
    return Decision(**everything | fields)


def test_nothing_of_the_person_is_left_in_a_record() -> None:
    erased = pseudonymise(decision(), "erased-1", {"customer.city": "~1"})
    assert SECRET not in encode_decision(erased).decode()
    assert decode_decision(encode_decision(erased)) == erased
    assert (erased.erased, erased.customer_id, erased.facts) == (True, "erased-1", {"customer.city": "~1"})


def test_what_a_replay_and_reports_need_is_left() -> None:
    before = decision()
    erased = pseudonymise(before, "erased-1", {})
    for name in ("decision_id", "policy", "epoch", "catalog_version", "numbers", "slots", "decided_at_ms"):
        assert getattr(erased, name) == getattr(before, name)
    (offer,) = erased.offers
    assert (offer.score, offer.probability) == (1.5, 0.5)
    assert offer.treatment is not None
    assert offer.treatment.treatment_id == "banner"
    snapshot = erased.customer_snapshot
    assert snapshot is not None
    assert (snapshot.history, snapshot.unlikely, snapshot.known) == ((CONTACT,), ((3, 0.1),), True)
    assert snapshot.attributes == {"max_contacts_per_day": 2}


def test_a_time_zone_stays_for_it_is_a_limit() -> None:
    snapshot = CustomerSnapshot(attributes={"time_zone": "Europe/Paris", "min_gap_s": 60})
    erased = pseudonymise(decision(customer_snapshot=snapshot), "erased-1", {})
    assert erased.customer_snapshot == snapshot


def test_what_was_not_logged_stays_so() -> None:
    before = decision(facts=None, customer_snapshot=None, default_offers=None, failure=None)
    erased = pseudonymise(before, "erased-1", {})
    assert (erased.facts, erased.customer_snapshot, erased.default_offers, erased.failure) == (None,) * 4


def test_of_a_record_that_cannot_be_read_only_what_is_counted_stays() -> None:
    header: dict[str, Any] = {
        "customer_id": SECRET,
        "placement": "home",
        "later": SECRET,
        "context": {"a": SECRET},
    }
    header |= {"offers": [{"offer_id": "gold", "rank": 1, "treatment": {"title": SECRET}}, SECRET]}
    erased = pseudonymise_unreadable(header, "erased-1")
    assert SECRET not in str(erased)
    assert (erased["placement"], erased["customer_id"]) == ("home", "erased-1")
    assert [offer["offer_id"] for offer in erased["offers"]] == ["gold"]
