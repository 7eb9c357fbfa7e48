"""Checks of aggregates and concepts: what they refer to, and what their function can be asked."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

from decisioning.aggregates.vocabulary import checker_of, property_attributes
from decisioning.errors import Invalid, InvalidRule, MissingThing
from profiles.events.declared import MAX_WINDOW_MS, MIN_WINDOW_MS, Aggregate, Concept, duration_ms
from profiles.events.definitions import MAX_WINDOW_TILES
from profiles.events.event_type import EventType
from rules.errors import RuleError
from rules.vocabulary import is_name

_NEEDS_PROPERTY = ("sum", "mean", "last")
_NUMBERS = ("number", "int")
_REMEMBERED = (*_NUMBERS, "string", "bool", "timestamp")
_MIN_TILE_MS = 1000
_DEFAULTS = Aggregate("", "", "count")
_NO_LENGTH = "must be a length of time such as 30m, 24h or 7d"
_CASES = ("open", "overdue")
_KEYS = ("string", "int")
"""Types of the property that tells cases apart."""
_OWN = {
    **dict.fromkeys(("of", "periods", "min_periods", "against"), ("deviation",)),
    "unit": ("recency",),
    **dict.fromkeys(("key", "closed_by"), (*_CASES, "count", "deviation")),
    "due": ("overdue",),
}
"""Fields that some functions alone know."""


def check_aggregate(aggregate: Aggregate, things: Mapping[str, Mapping[str, Any]]) -> Iterator[Invalid]:
    """Yield what is not right about an aggregate. ``things``: the sections of the catalogue."""
    yield from _check_id("aggregate_id", aggregate.aggregate_id)
    yield from _check_times(aggregate)
    event_type = things["event_types"].get(aggregate.event)
    if event_type is None:
        yield _no_event("event", aggregate.event)
        return
    yield from _check_property(aggregate, event_type)
    yield from _check_where("where", aggregate.where, event_type)
    if aggregate.function in _CASES:
        yield from _check_cases(aggregate, event_type, things["event_types"])
    elif aggregate.function in ("count", "deviation"):
        yield from _check_contacts(aggregate, event_type, things["event_types"])


def _check_contacts(
    aggregate: Aggregate, event_type: EventType, event_types: Mapping[str, EventType]
) -> Iterator[Invalid]:
    """Yield what is not right about how events about one case are told from those about another."""
    if aggregate.key is None:
        if aggregate.closed_by is not None:
            yield Invalid(
                "closed_by", "means something with a key alone: leave it out, or say which property it is"
            )
        return
    if aggregate.function == "deviation" and aggregate.against != "all":
        yield Invalid("key", "is compared with the cases of all customers alone: write against: all")
    if aggregate.function == "deviation" and aggregate.of != "count":
        yield Invalid("of", "with a key it is events that are counted: leave it out")
    yield from _check_cases(aggregate, event_type, event_types)


def _check_cases(
    aggregate: Aggregate, opened_by: EventType, event_types: Mapping[str, EventType]
) -> Iterator[Invalid]:
    """Yield what is not right about how cases are told apart, closed, and due."""
    closed_by = None if aggregate.closed_by is None else event_types.get(aggregate.closed_by)
    if aggregate.closed_by is None:
        if aggregate.function in _CASES:
            yield Invalid("closed_by", "is missing: the type of events that close a case")
    elif closed_by is None:
        yield _no_event("closed_by", aggregate.closed_by)
    elif closed_by is opened_by:
        yield Invalid("closed_by", "is the type that opens cases: events of another one close them")
    wanted: list[tuple[str, str | None, EventType | None, tuple[str, ...]]] = [
        ("key", aggregate.key, event_type, _KEYS) for event_type in (opened_by, closed_by)
    ]
    if aggregate.function == "overdue":
        wanted.append(("due", aggregate.due, opened_by, ("timestamp",)))
    mistakes = (_case_mistake(*each) for each in wanted)
    yield from islice((mistake for mistake in mistakes if mistake is not None), 1)


def _case_mistake(
    field: str, name: str | None, event_type: EventType | None, types: tuple[str, ...]
) -> Invalid | None:
    if event_type is None:
        return None
    if name is None:
        return Invalid(field, f"is missing: a property of events of type {event_type.type_id!r}")
    known = property_attributes(event_type)
    if name not in known:
        return _no_property(field, name, event_type, known)
    if known[name].type in types:
        return None
    meant = "a time (format date-time)" if field == "due" else "a text or a whole number"
    return Invalid(field, f"{name!r} of {event_type.type_id!r} is a {known[name].type}, and must be {meant}")


def check_concept(concept: Concept, things: Mapping[str, Mapping[str, Any]]) -> Iterator[Invalid]:
    """Yield what is not right about a concept. ``things``: the sections of the catalogue."""
    yield from _check_id("concept_id", concept.concept_id)
    yield from _check_length("half_life", concept.half_life)
    for place, signal in enumerate(concept.signals):
        event_type = things["event_types"].get(signal.event)
        if event_type is None:
            yield _no_event(f"signals.{place}.event", signal.event)
        else:
            yield from _check_where(f"signals.{place}.where", signal.where, event_type)


def check_event_number(
    prefix: str, event: str, name: str | None, things: Mapping[str, Mapping[str, Any]]
) -> Iterator[Invalid]:
    """Yield what is not right about a number in events, or a count of them (``name`` is ``None``), of a type."""
    event_type = things["event_types"].get(event)
    if event_type is None:
        yield _no_event(f"{prefix}event", event)
    elif name is not None:
        yield from _check_known_property(f"{prefix}property", event_type, name, "sum")


def _no_event(field: str, name: str) -> MissingThing:
    return MissingThing(field, "event", name, f"create it with PUT /v1/event-types/{name}, or in the file")


def _check_id(field: str, name: str) -> Iterator[Invalid]:
    if not is_name(name):
        yield Invalid(field, f"{name!r} cannot be named in a rule: it is a word of CEL, or no plain name")


def _check_times(aggregate: Aggregate) -> Iterator[Invalid]:
    function, window, tile = aggregate.function, aggregate.window, aggregate.tile
    if function == "recency":
        for field in ("window", "tile"):
            if getattr(aggregate, field) is not None:
                yield Invalid(field, "means nothing to recency, which looks back as far as there are events")
    elif window is None:
        if function not in ("last", *_CASES):
            what = "the length of a period" if function == "deviation" else "how far back it looks"
            yield Invalid("window", f"is missing: {what}, such as 7d")
    else:
        yield from _check_length("window", window)
    if tile is not None and (function in ("last", *_CASES) or _has_habit(aggregate)):
        yield Invalid("tile", f"means nothing to {function}: leave it out")
    elif tile is not None and aggregate.key is not None:
        yield Invalid("tile", "means nothing with a key, whose window is exact: leave it out")
    elif tile is not None and window is not None:
        yield from _check_tile(window, tile)
    if aggregate.against == "all":
        for field in ("periods", "min_periods"):
            if getattr(aggregate, field) != getattr(_DEFAULTS, field):
                yield Invalid(field, "means nothing where all customers are compared: leave it out")
    elif function == "deviation" and aggregate.min_periods > aggregate.periods:
        yield Invalid("min_periods", f"there are only {aggregate.periods} periods")
    for field, alone in _OWN.items():
        if function not in alone and getattr(aggregate, field) != getattr(_DEFAULTS, field):
            yield Invalid(field, f"means something to {' and '.join(alone)} alone: leave it out")


def _has_habit(aggregate: Aggregate) -> bool:
    return aggregate.function == "deviation" and aggregate.against == "self"


def _check_length(field: str, text: str) -> Iterator[Invalid]:
    length = _length_ms(text)
    if length is None:
        yield Invalid(field, _NO_LENGTH)
    elif not MIN_WINDOW_MS <= length <= MAX_WINDOW_MS:
        yield Invalid(field, f"{text} is not between 1m and 1100d")


def _length_ms(text: str) -> int | None:
    try:
        return duration_ms(text)
    except ValueError:
        return None


def _check_tile(window: str, tile: str) -> Iterator[Invalid]:
    length, tile_ms = _length_ms(window), _length_ms(tile)
    if tile_ms is None:
        yield Invalid("tile", _NO_LENGTH)
    elif length is None:
        return
    elif not _MIN_TILE_MS <= tile_ms <= length:
        yield Invalid("tile", f"{tile} is not between 1s and the window of {window}")
    elif length > MAX_WINDOW_TILES * tile_ms:
        least = -(-length // MAX_WINDOW_TILES // 1000)
        yield Invalid(
            "tile", f"{window} has more than {MAX_WINDOW_TILES} tiles of {tile}: write {least}s, or more"
        )


def _check_property(aggregate: Aggregate, event_type: EventType) -> Iterator[Invalid]:
    function, name = aggregate.function, aggregate.property
    needs = function in _NEEDS_PROPERTY or (function == "deviation" and aggregate.of != "count")
    if name is None:
        if needs:
            yield Invalid("property", f"is missing: what {function} is made of")
        return
    if not needs:
        yield Invalid("property", f"means nothing to {function}: leave it out")
        return
    yield from _check_known_property("property", event_type, name, function)


def _check_known_property(field: str, event_type: EventType, name: str, function: str) -> Iterator[Invalid]:
    known = property_attributes(event_type)
    if name not in known:
        yield _no_property(field, name, event_type, known)
        return
    type_ = known[name].type
    if type_ not in (_REMEMBERED if function == "last" else _NUMBERS):
        wanted = "a single value" if function == "last" else "a number"
        yield Invalid(field, f"{name!r} is a {type_}: {function} needs {wanted}")


def _no_property(field: str, name: str, event_type: EventType, known: Iterable[str]) -> Invalid:
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    hint = (
        f"did you mean {near[0]!r}?" if near else "declare it, with its type, in the properties of its schema"
    )
    return Invalid(field, f"events of type {event_type.type_id!r} have no property {name!r}; {hint}")


def _check_where(field: str, where: str | None, event_type: EventType) -> Iterator[Invalid]:
    if where is None:
        return
    try:
        expression = checker_of(tuple(property_attributes(event_type).values())).check(where)
    except RuleError as error:
        yield InvalidRule(field, error)
        return
    if expression.objection is not None:
        yield InvalidRule(field, expression.objection)
    elif "now" in expression.paths:
        yield Invalid(
            field, "must not refer to now: what an event tells does not depend on when it is counted"
        )
