"""Facts that a customer's events tell at the moment of a decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import DecodeError, msgpack

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.model.decision import CustomerSnapshot
from profiles.customer import Scalar
from profiles.events.definitions import EventDefinitions, selected
from profiles.events.fold import State
from profiles.events.population import NOBODY, Population, compared_with_all
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


class ToldDefinitions:
    """Finds the definitions of what a placement looks at: only that is read for its decisions.

    These are what its rules, the facts that it logs, and the policies in use refer to. They are looked for once for
    each version of the catalogue and set of policies.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[Catalogue, tuple[str, ...], EventDefinitions]] = {}

    def of(self, catalogue: Catalogue, view: PlacementView, learned: tuple[str, ...]) -> EventDefinitions:
        """Return the definitions for a view of a catalogue. ``learned``: paths of facts that policies learn from."""
        name = view.placement.placement_id
        known = self._found.get(name)
        if known is not None and known[0] is catalogue and known[1] == learned:
            return known[2]
        paths = {*learned, *view.placement.log_facts, *(path for path, _, _ in view.plan.places)}
        names = [path.partition(".") for path in paths]
        found = selected(
            catalogue.event_definitions,
            {name for root, _, name in names if root == EVENTS},
            {name for root, _, name in names if root == INTERESTS},
        )
        self._found[name] = catalogue, learned, found
        return found


def told_by(
    definitions: EventDefinitions, packed: bytes | None, now_ms: int, population: Population = NOBODY
) -> Told:
    """Read the state of a customer, as it is kept in Redis; ``None``: no event has told anything yet.

    Of a state that cannot be read nothing is known. ``population``: what is usual among all customers.
    """
    try:
        state = _DECODER.decode(packed) if packed else {}
    except DecodeError:
        return NOTHING_TOLD
    values = read_aggregates(definitions, state, now_ms)
    if population and (definitions.against_all or definitions.contacts):
        values = {**values, **compared_with_all(definitions, state, now_ms, population)}
    return Told(values, read_interests(definitions, state, now_ms))


def told_of(snapshot: CustomerSnapshot) -> Told:
    """Return what was told, as far as the decision looked."""
    return Told(snapshot.events, snapshot.interests_told)
