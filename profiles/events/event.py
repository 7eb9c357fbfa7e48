"""An event: something that a customer did, or that happened to a customer."""

from collections.abc import Mapping
from dataclasses import dataclass

from profiles.customer import Scalar

Property = Scalar | list[str] | list[float] | list[int] | list[bool]


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it was taken: its ``type`` is declared, and its properties are of that type's schema.

    ``event_id``: unique in the installation; the same id is the same event. ``at_ms``: when it happened, in Unix ms.
    """

    event_id: str
    customer_id: str
    type: str
    at_ms: int
    properties: Mapping[str, Property]
