"""The funnel of an offer, over decisions made by hand: what is no stage's doing stands in the log alone."""

from dataclasses import replace
from typing import Any

import numpy as np

from decisioning.model.decision import CustomerSnapshot, DecidedOffer, LoggedDecision, SnapshotWithheld
from decisioning.model.position import StreamPosition
from decisioning.reporting.recent.offer_funnel import MAX_RULES, OfferFunnel, stops_in
from decisioning.reporting.without_offer import StoppedBy
from tests.support.decided import decision
from tests.support.logged import catalogue_of

CATALOGUE = catalogue_of((1, 2, 3))
"""Offers `o1` to `o3`, which nothing stops."""


def logged(*candidates: int, **fields: Any) -> LoggedDecision:
    """A decision with these candidates."""
    numbers = np.array(candidates, dtype=np.uint32)
    propensities = np.zeros(len(numbers), dtype=np.float32)
    return LoggedDecision(0, StreamPosition("1-1"), decision(**fields), numbers, propensities)


def first_stop(of: LoggedDecision, offer_id: str = "o1") -> tuple[str, str]:
    """The stage and the name of what stops an offer first."""
    stop = (stops_in(CATALOGUE, of, offer_id) or [])[0]
    return stop.stage, stop.name


def test_what_stopped_an_offer_that_passed_all_stages() -> None:
    withheld = SnapshotWithheld(1, 0.1, 10.0, 2.0, "calls")
    assert first_stop(logged(2, customer_snapshot=CustomerSnapshot(withheld=(withheld,)))) == (
        "capacity",
        "calls",
    )
    unlikely = CustomerSnapshot(unlikely=((1, 0.01),))
    assert first_stop(logged(2, customer_snapshot=unlikely)) == ("propensity", "minimum propensity")
    assert first_stop(logged(2))[0] == "contact"


def test_a_candidate_lost_to_the_offer_of_the_first_slot() -> None:
    chosen = (DecidedOffer("o2", 1), DecidedOffer("o3", 2))
    assert first_stop(logged(1, 2, 3, offers=chosen)) == ("arbitration", "o2")
    assert first_stop(logged(1)) == ("arbitration", "no offer was chosen")
    assert stops_in(CATALOGUE, logged(1, 2, 3, offers=chosen), "o3") == []


def test_what_was_not_in_play_or_cannot_be_told() -> None:
    assert first_stop(logged(), "o9") == ("status", "not in the catalogue")
    assert stops_in(CATALOGUE, logged(erased=True), "o1") is None
    assert stops_in(CATALOGUE, logged(placement="gone"), "o1") is None
    funnel = OfferFunnel("o1")
    for one in (logged(erased=True), logged(1), logged(2)):
        funnel.add(CATALOGUE, one, ())
    report = funnel.report()
    assert (report["sampled"], report["unexplained"], report["in_play"], report["candidates"]) == (3, 1, 2, 1)


def test_an_offer_counts_as_presented_when_nobody_confirms_or_somebody_answers() -> None:
    funnel = OfferFunnel("o1")
    shown = logged(1, offers=(DecidedOffer("o1", 1),))
    asked = replace(shown, decision=decision(presentation="explicit", offers=(DecidedOffer("o1", 1),)))
    for one, told in ((shown, ()), (asked, ()), (asked, ("presented",)), (asked, ("accepted",))):
        funnel.add(CATALOGUE, one, told)
    funnel.add(CATALOGUE, logged(1, default_offers=(DecidedOffer("o1", 1),)), ())
    report = funnel.report()
    assert [report[n] for n in ("shown", "presented", "accepted", "as_default")] == [4, 3, 1, 1]


def test_the_rule_that_stops_most_comes_first_and_the_list_is_bounded() -> None:
    funnel = OfferFunnel("o1")
    funnel.rules.update({StoppedBy("eligibility", f"rule {n}", None): n + 1 for n in range(MAX_RULES + 7)})
    report = funnel.report()
    assert (len(report["rules"]), report["more_rules"]) == (MAX_RULES, 7)
    assert report["rules"][0]["name"] == f"rule {MAX_RULES + 6}"
