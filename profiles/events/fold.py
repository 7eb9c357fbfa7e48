"""The fold of events: the increments that an event makes, and the state that they make up.

The state is a sum (and, of what is remembered, a maximum), so it is the same in whatever order events come. Its numbers
are whole, so it is the same on every machine too.
"""

import math
from base64 import urlsafe_b64encode
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from msgspec import json

from profiles.events.definitions import MILLION, Contribution, EventDefinitions, most_fields
from profiles.events.event import Event
from profiles.events.event_type import MAX_NUMBER
from storage.clock import to_ms

MAX_TEXT_CHARS = 200

State = dict[str, list[Any]]
"""By field: ``[index, amount, index, amount, ...]`` by ascending index of tiles, or ``[index, event id, JSON]``."""

_BITS = 60
_STEPS = 20


@dataclass(frozen=True, slots=True)
class Increment:
    """A change of one field of a customer's state.

    ``index``: the tile, counted from 1970; or, of what is remembered, what decides which entry stays: the time in ms,
    negative for the first; of a case, or an event about one, twice that, and one more if it closes it. ``amount``: a
    whole number to add to the tile. ``keep``: the number of newest tiles that are kept; of cases and events about
    them, which have a ``/`` in their fields, the number of those with the same text before it. ``value``: what is
    remembered, as JSON; empty for sums.
    """

    field: str
    index: int
    amount: int
    keep: int
    value: str = ""


def increments_of(definitions: EventDefinitions, event: Event) -> tuple[Increment, ...]:
    """Return what an event adds to the state of its customer.

    A property that is missing, is no finite number, or is beyond ``MAX_NUMBER`` adds nothing to sums and means.
    """
    contributions = definitions.contributions.get(event.type)
    if contributions is None:
        return ()
    conditions = definitions.conditions[event.type]
    met = definitions.matcher(event, conditions) if conditions else ()
    found = (_increment(c, event) for c in contributions if c.where is None or c.where in met)
    return tuple(increment for increment in found if increment is not None)


def apply(state: State, increments: Iterable[Increment], event_id: str) -> State:
    """Return the state with the increments of one event: what the function in Redis does, step by step.

    The caller sees to it that each event is applied once.
    """
    changed = dict(state)
    for increment in increments:
        entry = changed.get(increment.field, [])
        if increment.value:
            newest = [increment.index, event_id, increment.value]
            changed[increment.field] = max(entry, newest, key=lambda e: e[:2]) if entry else newest
            if increment.keep > 1:
                _drop_oldest_case(changed, increment)
        else:
            changed[increment.field] = _added(entry, increment)
    return changed


def _drop_oldest_case(state: State, increment: Increment) -> None:
    """Drop the oldest case if there are more than are kept. It cannot come back, so the order does not matter."""
    cases = increment.field.partition("/")[0] + "/"
    known = [field for field in state if field.startswith(cases)]
    if len(known) > increment.keep:
        del state[min(known, key=lambda field: (state[field][0], field))]


def fold(definitions: EventDefinitions, events: Iterable[Event]) -> State:
    """Fold events of one customer, in any order; those with the same id are the same, and count once."""
    state: State = {}
    for event in {event.event_id: event for event in events}.values():
        state = apply(state, increments_of(definitions, event), event.event_id)
    return state


def _increment(c: Contribution, event: Event) -> Increment | None:
    at_ms, number = event.at_ms, 0.0
    value = None if c.property is None else event.properties.get(c.property)
    if c.adds == "value":
        text = _json(value)
        return None if text is None else Increment(c.field, at_ms, 0, 1, text)
    most = most_fields(c)
    if most is not None:
        return _case(c, event, value, most)
    if c.property is not None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_NUMBER:
            return None
        number = float(value)
    index, into_ms = divmod(at_ms, c.tile_ms)
    match c.adds:
        case "one":
            return Increment(c.field, index, 1, c.keep)
        case "property":
            return Increment(c.field, index, round(number * MILLION), c.keep)
        case "weight":
            return Increment(c.field, index, grown(c.weight, into_ms, c.tile_ms), c.keep)
        case "time":
            return Increment(c.field, at_ms, 0, 1, "0")
        case _:
            return Increment(c.field, -at_ms, 0, 1, "0")


def _case(c: Contribution, event: Event, key: object, most: int) -> Increment | None:
    """Return what is remembered of a case: by when it is to be closed (Unix ms, 0 if nothing says), -1 if it is.

    Of an event about a case it is which one.
    """
    text = _json(key)
    if text is None:
        return None
    case, index = _digest(text), 2 * event.at_ms + (c.adds in ("closed", "settled"))
    if c.adds in ("about", "settled"):
        return Increment(f"{c.field}/{_digest(event.event_id)}", index, 0, most, f'"{case}"')
    due_ms = 0 if c.due is None else _time_ms(event.properties.get(c.due))
    return Increment(f"{c.field}/{case}", index, 0, most, "-1" if c.adds == "closed" else str(due_ms))


def _digest(text: str) -> str:
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=6).digest()).decode()


def _time_ms(value: object) -> int:
    """Read a time such as ``2026-05-01T09:00:00Z`` as Unix ms, in UTC if no zone is named; 0 if it is none."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return 0 if at is None else to_ms(at if at.tzinfo is not None else at.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return 0


def _json(value: object) -> str | None:
    """Write a value that can be remembered: a text (cut), a finite number, or a truth value."""
    if isinstance(value, str):
        return json.encode(value[:MAX_TEXT_CHARS]).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return json.encode(value).decode() if isinstance(value, int | float) and abs(value) < 2**63 else None


def _added(entry: list[Any], increment: Increment) -> list[Any]:
    indices, amounts = entry[::2], entry[1::2]
    newest = max(indices[-1], increment.index) if indices else increment.index
    oldest = newest - increment.keep
    if increment.index > oldest:
        at = bisect_left(indices, increment.index)
        if at < len(indices) and indices[at] == increment.index:
            amounts[at] += increment.amount
        else:
            indices.insert(at, increment.index)
            amounts.insert(at, increment.amount)
    kept = bisect_left(indices, oldest + 1)
    return [number for pair in zip(indices[kept:], amounts[kept:], strict=True) for number in pair]


def _roots() -> tuple[int, ...]:
    """Compute 2 ** (1/2), 2 ** (1/4), ... as whole multiples of 2 ** -60, rounded down."""
    found, root = [], 2 << _BITS
    for _ in range(_STEPS):
        root = math.isqrt(root << _BITS)
        found.append(root)
    return tuple(found)


_ROOTS = _roots()


def grown(weight: int, into_ms: int, half_life_ms: int) -> int:
    """Return ``weight * 2 ** (into_ms / half_life_ms)``, computed in whole numbers: the same on every machine.

    The exponent is cut to a multiple of 2 ** -20, so the result is too small by at most a millionth of itself, and
    rounded down to a whole number.
    """
    fraction = (into_ms << _STEPS) // half_life_ms
    result = weight << _BITS
    for step, root in enumerate(_ROOTS, 1):
        if fraction >> (_STEPS - step) & 1:
            result = result * root >> _BITS
    return result >> _BITS
