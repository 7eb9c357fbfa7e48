"""Waits for dates that events hold: each event, or each thing that they are about, has a day of its own. Pure."""

from collections.abc import MutableMapping
from hashlib import sha256
from typing import Any, NamedTuple

from decisioning.model.trigger import DAY_OVER, Trigger
from decisioning.triggers.days import DueDay, due_of
from decisioning.triggers.firing import Candidate, Firing
from decisioning.triggers.waiting import Happening, Wait, WaitKey
from storage.clock import DAY_MS

LATE_MS = 8 * DAY_MS
"""For so long it is remembered that there is no day: events that happened before may come later, and are corrected."""

MAX_NAME_BYTES = 256


class Subject(NamedTuple):
    """A thing that events of a customer are about: their type, the property that names it, and its name."""

    customer_id: str
    type: str
    key: str
    name: str


def is_of_date(wait: Wait) -> bool:
    """Return whether a wait is one for a date: its key has no decision before the slash."""
    return wait.key[2].startswith("/")


def wait_key(trigger: Trigger, happening: Happening) -> WaitKey | None:
    """Return what is waited for after an event; ``None`` if it does not say what it is about."""
    value = happening.id if trigger.on.key is None else _property(happening.cause, trigger.on.key)
    return None if value is None else (trigger.trigger_id, happening.customer_id, f"/{name_of(value)}")


def name_of(value: Any) -> str:
    """Return the text that stands for a value of ``key``: an index takes no text of any length."""
    name = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    encoded = name.encode("utf-8", "surrogatepass")
    return name if len(encoded) <= MAX_NAME_BYTES else f"sha256:{sha256(encoded).hexdigest()}"


def due_day(trigger: Trigger, cause: Any, time_zone: Any) -> DueDay | None:
    """Return the day for which the event in ``cause`` calls, for a customer with a time zone; ``None``: for none."""
    name = (trigger.on.date or "").removeprefix("event.")
    return due_of(trigger.on, _property(cause, name), time_zone)


def fold_date(
    waits: MutableMapping[WaitKey, Wait], trigger: Trigger, happening: Happening, time_zone: Any
) -> Firing | None:
    """Change ``waits`` by an event, of which that counts that happened last; returns what is dropped, if it is over.

    Where an event takes a date back, that is remembered as a wait for no day.
    """
    key = wait_key(trigger, happening)
    if key is None:
        return None
    day = due_day(trigger, happening.cause, time_zone)
    is_over = day is not None and day.at_ms <= happening.at_ms
    known = waits.get(key)
    if known is None or _order(known.since_ms, known.cause) < _order(happening.at_ms, happening.cause):
        occasion = happening.occasion if trigger.on.key is None else f"{happening.name} {key[2][1:]}"
        if day is not None and not is_over:
            cause = {**happening.cause, "date": trigger.on.date, "day": day.day.isoformat()}
            waits[key] = Wait(key, happening.at_ms, day.at_ms, occasion, cause)
        elif trigger.on.key is not None:
            waits[key] = Wait(key, happening.at_ms, happening.at_ms + LATE_MS, occasion, happening.cause)
    if day is None or not is_over:
        return None
    cause = {**happening.cause, "date": trigger.on.date, "day": day.day.isoformat()}
    at_ms, occasion = happening.at_ms, f"{happening.occasion} past"
    return Firing(
        trigger.trigger_id, 0, happening.customer_id, occasion, cause, at_ms, at_ms, dropped=DAY_OVER
    )


def end_date(trigger: Trigger, wait: Wait, time_zone: Any, now_ms: int) -> Candidate | Wait | None:
    """Return what becomes of a wait that is over: it fires, is longer by now, or ends."""
    if not trigger.on.is_event_date or "day" not in wait.cause:
        return None
    day = due_day(trigger, wait.cause, time_zone)
    if day is None:
        return None
    if day.at_ms > now_ms:  # the trigger has changed, or the customer is somewhere else
        cause = {**wait.cause, "day": day.day.isoformat()}
        return Wait(wait.key, wait.since_ms, day.at_ms, wait.occasion, cause)
    return Candidate(trigger, wait.key[1], wait.occasion, wait.cause, wait.due_ms)


def subject_of(trigger: Trigger, wait: Wait) -> Subject | None:
    """Return what a wait is about; ``None`` if its trigger has no key: each event has a day of its own then."""
    if trigger.on.key is None:
        return None
    return Subject(wait.key[1], trigger.on.event or "", trigger.on.key, wait.key[2].removeprefix("/"))


def is_newer(wait: Wait, at_ms: int, event_id: str) -> bool:
    """Return whether an event about the same happened later than the one that a wait counts by."""
    return (at_ms, event_id) > _order(wait.since_ms, wait.cause)


def _order(at_ms: int, cause: Any) -> tuple[int, str]:
    return at_ms, str(cause.get("event_id", ""))


def _property(cause: Any, name: str) -> Any:
    return cause.get("properties", {}).get(name)
