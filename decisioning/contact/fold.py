"""Contact history as a fold of the log: what ``nb_decide``, ``nb_feedback`` and ``nb_release`` leave behind."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from decisioning.contact.history import KINDS, Contact


@dataclass(frozen=True, slots=True)
class Told:
    """One outcome of a decision, as logged. ``at_ms`` is when it happened, ``recorded_ms`` when that was told."""

    offer_id: str
    outcome: str
    at_ms: int
    recorded_ms: int
    position: tuple[int, int]

    @property
    def contact_ms(self) -> int:
        """The time of the contact: never later than it was told."""
        return min(self.at_ms, self.recorded_ms)


@dataclass(frozen=True, slots=True)
class Kept:
    """A contact with an offer. ``reserved``: it is given back if nobody says that the offer was presented."""

    offer_id: str
    contact: Contact
    reserved: bool = False


def contact_facts(header: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Group and goal of each decided offer, and whether limits count it. Early records do not tell the first two."""
    logged = header.get("contact")
    if logged is None:
        return [("", "", True) for _ in header["offers"]]
    return [(group, goal, counts) for group, goal, counts in logged["offers"]]


def contacts_of(header: Mapping[str, Any], told: Iterable[Told]) -> Iterator[Kept]:
    """The contacts of a decision that was not withdrawn, given everything that was told of it."""
    in_order = sorted(told, key=lambda t: t.position)
    offers = zip(header["offers"], header["numbers"], contact_facts(header), strict=True)
    for offer, number, (group, goal, counts) in offers:
        offer_id = offer["offer_id"]
        mine = [t for t in in_order if t.offer_id == offer_id]
        answers = [t for t in mine if t.outcome in KINDS]
        channel = header["channel"] or ""
        if counts:
            if not any(t.outcome == "released" for t in mine):
                at_ms = header["decided_at_ms"]
                yield Kept(offer_id, Contact(number, at_ms, group, goal, "d", channel), reserved=True)
            elif answers:  # presented after all
                yield Kept(offer_id, Contact(number, answers[0].contact_ms, group, goal, "d", channel))
        for answer in answers:
            letter = KINDS[answer.outcome] if counts else KINDS[answer.outcome].upper()
            yield Kept(offer_id, Contact(number, answer.contact_ms, group, goal, letter, channel))
