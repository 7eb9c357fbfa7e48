"""Aggregates and concepts, prepared: by type of events for folding them, by function for reading what was folded.

Sums are kept in tiles, stretches of time, so that the state of a customer is small however many events there are. A
window begins at the start of a tile: what it counts is exact, but for events older than it by less than one tile.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, TypeVar

from profiles.events.declared import UNIT_MS, Aggregate, Concept, Measure, duration_ms
from profiles.events.event import Event

WINDOW_TILES = 60
"""Into so many tiles a window is divided, unless its aggregate says otherwise."""
MAX_WINDOW_TILES = 400
PERIOD_TILES = 24
"""Into so many tiles a period of a habit is divided."""
CONCEPT_TILES = 16
"""Interests are kept for so many half-lives, one tile each."""
MAX_STATE_BYTES = 65_536
"""The most that all that is declared may keep of one customer."""
MAX_CASES = 32
"""Of so many cases it is known whether they are open: those of which there were events last."""
MAX_CONTACTS = 64
"""So many events about cases are kept where those about one are counted: the last ones."""
MILLION = 1_000_000

CASE_CHARS = 9
"""By so many a case's field, or a contact's, is longer than what those of all begin with."""
_TILE_BYTES, _FIELD_BYTES = 14, 16
_VALUE_BYTES, _TIME_BYTES = 1_400, 160

T = TypeVar("T", bound=tuple[Any, ...])
Adds = Literal["one", "property", "weight", "value", "time", "first", "opened", "closed", "about", "settled"]
Matcher = Callable[[Event, Collection[str]], Collection[str]]
"""Selects those of some conditions that an event meets."""


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is looked at, and the length of its tiles, in ms."""

    length_ms: int
    tile_ms: int

    @property
    def keep(self) -> int:
        """The number of newest tiles that are needed: those of the window, and the one that it begins in."""
        return -(-self.length_ms // self.tile_ms) + 1


@dataclass(frozen=True, slots=True)
class Habit:
    """The reading of a deviation: fields of counts and sums ("" if not needed), and of the first event."""

    of: Measure
    count_field: str
    sum_field: str
    first_field: str
    tile_ms: int
    periods: int
    min_periods: int


@dataclass(frozen=True, slots=True)
class Contribution:
    """A field of the state to which events of a type contribute.

    ``adds``: ``one`` for each event, the ``property`` in millionths, or the ``weight``, grown by the event's place in
    its tile; or what is remembered: the ``value`` of the property or the ``time`` of the newest event, or when the
    ``first`` was. ``property``: events without it contribute nothing; but for ``value``, and for cases, it must be a
    number. Of cases, which are ``opened`` and ``closed``, it is the property that tells one from another, and the field
    is the beginning of those of all cases; ``due``: the property that says by when one is to be closed. So it is of
    events ``about`` cases, and those by which one is ``settled``, each of which has a field of its own.
    """

    field: str
    adds: Adds
    where: str | None = None
    property: str | None = None
    tile_ms: int = 1
    keep: int = 1
    weight: int = 0
    due: str | None = None


def most_fields(c: Contribution) -> int | None:
    """Return how many fields that begin with its own are kept, of cases or events about them; ``None``: it is one."""
    match c.adds:
        case "opened" | "closed":
            return MAX_CASES
        case "about" | "settled":
            return MAX_CONTACTS
        case _:
            return None


@dataclass(frozen=True, slots=True)
class EventDefinitions:
    """All that is declared, prepared.

    ``conditions``: all distinct conditions by type of events. ``counts``, ``sums`` and ``means`` name the fields of
    aggregates and the place of their window in ``windows``; ``last`` the field and the window in ms, if any;
    ``recency`` the field and the ms of the unit; ``concepts`` the field and the half-life in ms;
    ``cases`` the beginning of the fields, whether only those past due count, and the window in ms, if any;
    ``contacts`` what the distribution over cases is found under ("" if it is not compared), the beginning of the fields
    of events about cases, and the window in ms;
    ``against_all`` what the distribution is found under, the fields of counts and sums ("" if there is none), whether
    it is their mean, and the window's place. ``defaults``: what is read where nothing is known.
    """

    contributions: Mapping[str, tuple[Contribution, ...]]
    conditions: Mapping[str, tuple[str, ...]]
    matcher: Matcher
    windows: tuple[Window, ...] = ()
    counts: tuple[tuple[str, str, int], ...] = ()
    sums: tuple[tuple[str, str, int], ...] = ()
    means: tuple[tuple[str, str, str, int], ...] = ()
    last: tuple[tuple[str, str, int | None], ...] = ()
    recency: tuple[tuple[str, str, int], ...] = ()
    habits: tuple[tuple[str, Habit], ...] = ()
    concepts: tuple[tuple[str, str, int], ...] = ()
    cases: tuple[tuple[str, str, bool, int | None], ...] = ()
    contacts: tuple[tuple[str, str, str, int], ...] = ()
    against_all: tuple[tuple[str, str, str, str, bool, int], ...] = ()
    defaults: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def surveyed(self) -> frozenset[str]:
        """The names of the distributions over all customers, and over all cases."""
        cases = (usual for _, usual, *_ in self.contacts if usual)
        return frozenset((*(usual for _, usual, *_ in self.against_all), *cases))


def prepare(
    aggregates: Iterable[Aggregate], concepts: Iterable[Concept] = (), matcher: Matcher | None = None
) -> EventDefinitions:
    """Prepare what is declared, which has been checked before. ``matcher`` evaluates conditions."""
    aggregates, concepts = list(aggregates), list(concepts)
    contributions: dict[str, list[Contribution]] = {}
    declared: list[Aggregate | Concept] = [*aggregates, *concepts]
    for thing in declared:
        for type_, contribution in contributions_of(thing):
            contributions.setdefault(type_, []).append(contribution)
    of = {
        function: [a for a in aggregates if a.function == function]
        for function in ("count", "sum", "mean", "last", "recency", "deviation", "open", "overdue")
    }
    counted = [a for a in of["count"] if a.key is None]
    compared = [a for a in of["deviation"] if a.against == "all" and a.key is None]
    windowed = [*counted, *of["sum"], *of["mean"], *compared]
    windows = list(dict.fromkeys(window_of(a) for a in windowed))
    at = {window: place for place, window in enumerate(windows)}
    return EventDefinitions(
        contributions={type_: tuple(found) for type_, found in contributions.items()},
        conditions={
            type_: tuple(dict.fromkeys(c.where for c in found if c.where is not None))
            for type_, found in contributions.items()
        },
        matcher=_no_conditions if matcher is None else matcher,
        windows=tuple(windows),
        counts=tuple((a.aggregate_id, field_name(a, "n"), at[window_of(a)]) for a in counted),
        sums=tuple((a.aggregate_id, field_name(a, "s"), at[window_of(a)]) for a in of["sum"]),
        means=tuple(
            (a.aggregate_id, field_name(a, "n"), field_name(a, "s"), at[window_of(a)]) for a in of["mean"]
        ),
        last=tuple((a.aggregate_id, field_name(a, "l"), _length_ms(a)) for a in of["last"]),
        recency=tuple((a.aggregate_id, field_name(a, "t"), UNIT_MS[a.unit]) for a in of["recency"]),
        habits=tuple((a.aggregate_id, _habit(a)) for a in of["deviation"] if a.against == "self"),
        against_all=tuple(
            (
                a.aggregate_id,
                field_name(a, "u"),
                field_name(a, "n"),
                field_name(a, "s") if a.of != "count" else "",
                a.of == "mean",
                at[window_of(a)],
            )
            for a in compared
        ),
        contacts=tuple(
            (
                a.aggregate_id,
                field_name(a, "u") if a.function == "deviation" else "",
                field_name(a, "k") + "/",
                duration_ms(a.window or ""),
            )
            for a in (*of["count"], *of["deviation"])
            if a.key is not None
        ),
        concepts=tuple((c.concept_id, field_name(c, "w"), duration_ms(c.half_life)) for c in concepts),
        cases=tuple(
            (a.aggregate_id, field_name(a, "c") + "/", a.function == "overdue", _length_ms(a))
            for a in (*of["open"], *of["overdue"])
        ),
        defaults={a.aggregate_id: 0 for f in ("count", "open", "overdue") for a in of[f]}
        | {a.aggregate_id: 0.0 for a in of["sum"]},
    )


def _length_ms(aggregate: Aggregate) -> int | None:
    return None if aggregate.window is None else duration_ms(aggregate.window)


def _no_conditions(event: Event, conditions: Collection[str]) -> Collection[str]:
    """Meet none: for definitions without conditions."""
    return ()


NO_DEFINITIONS = prepare(())


def selected(definitions: EventDefinitions, aggregates: Set[str], concepts: Set[str]) -> EventDefinitions:
    """Return the definitions for reading these aggregates and concepts alone; ``NO_DEFINITIONS`` if there are none."""

    def among(found: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(one for one in found if one[0] in aggregates)

    chosen = replace(
        definitions,
        counts=among(definitions.counts),
        sums=among(definitions.sums),
        means=among(definitions.means),
        last=among(definitions.last),
        recency=among(definitions.recency),
        habits=among(definitions.habits),
        cases=among(definitions.cases),
        contacts=among(definitions.contacts),
        against_all=among(definitions.against_all),
        concepts=tuple(one for one in definitions.concepts if one[0] in concepts),
        defaults={name: value for name, value in definitions.defaults.items() if name in aggregates},
    )
    parts = (
        chosen.counts,
        chosen.sums,
        chosen.means,
        chosen.last,
        chosen.recency,
        chosen.habits,
        chosen.cases,
        chosen.contacts,
        chosen.against_all,
        chosen.concepts,
    )
    return chosen if any(parts) else NO_DEFINITIONS


def window_of(aggregate: Aggregate) -> Window:
    """Return the window of an aggregate, with its tiles; of a deviation, the period."""
    length = duration_ms(aggregate.window or "")
    if aggregate.function == "deviation" and aggregate.against == "self":
        return Window(length, -(-length // PERIOD_TILES))
    return Window(
        length, -(-length // WINDOW_TILES) if aggregate.tile is None else duration_ms(aggregate.tile)
    )


def max_state_bytes(thing: Aggregate | Concept) -> int:
    """Bound what is kept of one customer for an aggregate or concept, in bytes of MessagePack."""
    return sum(_max_bytes(c) for c in {c.field: c for _, c in contributions_of(thing)}.values())


def _max_bytes(c: Contribution) -> int:
    most = most_fields(c)
    if most is not None:
        return most * (_FIELD_BYTES + CASE_CHARS + _TIME_BYTES)
    if c.adds == "value":
        return _FIELD_BYTES + _VALUE_BYTES
    return _FIELD_BYTES + (_TIME_BYTES if c.adds in ("time", "first") else c.keep * _TILE_BYTES)


def contributions_of(thing: Aggregate | Concept) -> Iterator[tuple[str, Contribution]]:
    """Yield what events contribute to an aggregate or a concept, with their type."""
    if isinstance(thing, Concept):
        half_life_ms, name = duration_ms(thing.half_life), field_name(thing, "w")
        for signal in thing.signals:
            weight = round(signal.weight * MILLION)
            yield (
                signal.event,
                Contribution(name, "weight", signal.where, None, half_life_ms, CONCEPT_TILES, weight),
            )
        return
    where, own = thing.where, thing.property
    if thing.function == "last":
        yield thing.event, Contribution(field_name(thing, "l"), "value", where, own)
    elif thing.function in ("open", "overdue"):
        cases = field_name(thing, "c")
        yield thing.event, Contribution(cases, "opened", where, thing.key, due=thing.due)
        if thing.closed_by is not None:
            yield thing.closed_by, Contribution(cases, "closed", None, thing.key)
    elif thing.key is not None:
        contacts = field_name(thing, "k")
        yield thing.event, Contribution(contacts, "about", where, thing.key)
        if thing.closed_by is not None:
            yield thing.closed_by, Contribution(contacts, "settled", None, thing.key)
    elif thing.function == "recency":
        yield thing.event, Contribution(field_name(thing, "t"), "time", where)
    else:
        window, keep = window_of(thing), 0
        measure = thing.of if thing.function == "deviation" else thing.function
        number = None if measure == "count" else own
        against_all = thing.function == "deviation" and thing.against == "all"
        if thing.function == "deviation" and not against_all:
            yield thing.event, Contribution(field_name(thing, "f"), "first", where, number)
            keep = PERIOD_TILES * (thing.periods + 1)
        tiles = window.tile_ms, keep or window.keep
        if (
            measure in ("count", "mean") or against_all
        ):  # whether there is any event is counted for sums as well
            yield thing.event, Contribution(field_name(thing, "n"), "one", where, number, *tiles)
        if measure in ("sum", "mean"):
            yield thing.event, Contribution(field_name(thing, "s"), "property", where, number, *tiles)


def _habit(a: Aggregate) -> Habit:
    return Habit(
        a.of,
        field_name(a, "n") if a.of != "sum" else "",
        field_name(a, "s") if a.of != "count" else "",
        field_name(a, "f"),
        window_of(a).tile_ms,
        a.periods,
        a.min_periods,
    )


def field_name(thing: Aggregate | Concept, part: str) -> str:
    """Name a field of the state: by the id and all that it depends on, so that a changed definition begins anew."""
    meaning: tuple[object, ...]
    if isinstance(thing, Concept):
        signals = sorted((s.event, s.weight, s.where or "") for s in thing.signals)
        meaning = ("concept", thing.concept_id, thing.half_life, signals)
    else:
        habit: tuple[object, ...] = (thing.of, thing.periods) if thing.function == "deviation" else ()
        window = () if thing.function in ("last", "open", "overdue") else (thing.window, thing.tile)
        if thing.key is not None and thing.function in ("count", "deviation"):
            habit = (thing.key, thing.closed_by)
        elif thing.function in ("open", "overdue"):
            habit = (thing.key, thing.closed_by, thing.due)
        elif thing.against == "all":
            habit = (thing.of, thing.against)
        meaning = (
            "aggregate",
            thing.aggregate_id,
            thing.event,
            thing.function,
            thing.property,
            thing.where,
            *window,
            *habit,
        )
    digest = blake2b(repr((meaning, part)).encode(), digest_size=6).digest()
    return urlsafe_b64encode(digest).decode()
