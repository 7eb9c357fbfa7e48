"""The contacts of a decision, made again from what the log says of it."""

from collections.abc import Iterable

from decisioning.contact.history import LoggedOutcome, contacts_of_decision, suppressing
from decisioning.model.decision import DecidedOffer, DecisionContacts, OfferContact
from decisioning.model.position import StreamPosition
from tests.support.decided import NOW_MS, decision


def kept(
    told: Iterable[tuple[str, int, tuple[str, ...]]], *, counts: bool = True
) -> list[tuple[str, str, int]]:
    """Kind, channel and seconds since the decision of the contacts with one offer, given what was told of it."""
    made = decision(
        offers=(DecidedOffer("gold", 1),),
        numbers=(7,),
        contacts=DecisionContacts(1, None, (OfferContact("cards", "grow", counts),)),
    )
    outcomes = [
        LoggedOutcome("gold", kind, NOW_MS + s * 1000, NOW_MS + s * 1000, StreamPosition(f"{n}-0"), causes)
        for n, (kind, s, causes) in enumerate(told, start=1)
    ]
    found = [one.contact for one in contacts_of_decision(made, outcomes)]
    return sorted((c.kind, c.channel, (c.at_ms - NOW_MS) // 1000) for c in found)


def test_declared_outcomes_are_kept_with_their_name_in_the_place_of_the_channel() -> None:
    assert kept([("quoted", 5, ())]) == [("d", "web", 0), ("o", "quoted", 5)]
    assert kept([("clicked", 5, ()), ("quoted", 9, ())]) == [
        ("c", "web", 5),
        ("d", "web", 0),
        ("o", "quoted", 9),
    ]
    assert kept([("quoted", 5, ())], counts=False) == [("O", "quoted", 5)]


def test_a_declared_outcome_brings_back_a_contact_that_was_released() -> None:
    assert kept([("released", 5, ())]) == []
    assert kept([("released", 5, ()), ("quoted", 9, ())]) == [("d", "web", 9), ("o", "quoted", 9)]


def test_what_suppresses_is_kept_for_everywhere_and_for_its_channel() -> None:
    found = kept([("rejected", 5, ("reason/dear",))])
    assert found == [("d", "web", 0), ("r", "web", 5), ("s", "reason/dear", 5), ("s", "reason/dear@web", 5)]
    assert kept([("quoted", 5, ("quoted",))], counts=False) == [
        ("O", "quoted", 5),
        ("S", "quoted", 5),
        ("S", "quoted@web", 5),
    ]
    assert list(suppressing((), "web", counts=True)) == []
