"""Events as they stand in the log, and their form there.

Fields of an ``event`` entry: ``id``, ``cu`` customer, ``k`` type, ``at`` happened at, ``ts`` recorded at (Unix ms),
``pr`` properties (JSON), ``cm`` the contacts that it is, as members of the customer's history, a line each, ``hh`` the
household in whose history they are as well, if any.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from decisioning.model.position import StreamPosition
from profiles.events.event import Event, Property

EventKey = tuple[str, str]
"""Customer and event id: what makes an event the one that it is."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event at ``position`` in the stream of ``bucket``. ``contacts``: members of the customer's contact history.

    ``household``: in whose history they are as well, if any.
    """

    bucket: int
    position: StreamPosition
    event: Event
    recorded_ms: int
    contacts: tuple[str, ...] = ()
    household: str | None = None

    @property
    def key(self) -> EventKey:
        """Its identity wherever in the log it stands."""
        return self.event.customer_id, self.event.event_id

    @property
    def contact_ms(self) -> int:
        """The time of its contacts: never later than it was received."""
        return min(self.event.at_ms, self.recorded_ms)


def properties_text(properties: Mapping[str, Property]) -> str:
    """Write properties as JSON."""
    return to_json(dict(properties)).decode()


def event_of_fields(bucket: int, position: StreamPosition, fields: Mapping[bytes, bytes]) -> LoggedEvent:
    """Read an ``event`` entry. Raises ``KeyError`` or ``ValueError`` if it cannot be read."""
    event = Event(
        event_id=fields[b"id"].decode(),
        customer_id=fields[b"cu"].decode(),
        type=fields[b"k"].decode(),
        at_ms=int(fields[b"at"]),
        properties=from_json(fields[b"pr"]),
    )
    contacts = tuple(name for name in fields.get(b"cm", b"").decode().split("\n") if name)
    household = fields[b"hh"].decode() if b"hh" in fields else None
    return LoggedEvent(bucket, position, event, int(fields[b"ts"]), contacts, household)
