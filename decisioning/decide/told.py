"""What a customer's events tell at the moment of a decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import DecodeError, msgpack

from decisioning.model.decision import CustomerSnapshot
from profiles.customer import Scalar
from profiles.events.definitions import EventDefinitions
from profiles.events.fold import State
from profiles.events.reading import read_aggregates, read_interests

_DECODER = msgpack.Decoder(State)
EVENTS, INTERESTS = "events", "interests"
"""The roots under which rules and policies know them."""


@dataclass(frozen=True, slots=True)
class Told:
    """Values of aggregates and scores of concepts, by id. What is not known is left out."""

    events: Mapping[str, Scalar] = field(default_factory=dict)
    interests: Mapping[str, float] = field(default_factory=dict)


NOTHING_TOLD = Told()


def told_by(definitions: EventDefinitions, packed: bytes | None, now_ms: int) -> Told:
    """Read the state of a customer, as it is kept in Redis; ``None``: no event has told anything yet.

    Of a state that cannot be read nothing is known.
    """
    try:
        state = _DECODER.decode(packed) if packed else {}
    except DecodeError:
        return NOTHING_TOLD
    return Told(read_aggregates(definitions, state, now_ms), read_interests(definitions, state, now_ms))


def told_of(snapshot: CustomerSnapshot) -> Told:
    """Return what was told, as far as the decision looked."""
    return Told(snapshot.events, snapshot.interests_told)
