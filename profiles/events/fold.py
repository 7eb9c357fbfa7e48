"""The fold of events."""

from dataclasses import dataclass
from typing import Any

State = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Increment:
    """A change of one field of a customer's state."""

    field: str
    index: int
    amount: int
    keep: int
    value: str = ""
