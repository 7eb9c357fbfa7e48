"""The states of two who turn out to be one customer, put together: what folding the events of both would have made.

States are sums, and maxima of what is remembered, so merging is commutative and associative, as folding is.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from profiles.events.definitions import MAX_CASES, EventDefinitions, most_fields
from profiles.events.fold import Increment, State


def merge(definitions: EventDefinitions, *states: State) -> State:
    """Return what several states, of different events, make up together.

    Tiles that have left the windows of ``definitions`` go; fields that these do not know stay whole. Of cases
    and of events about them the newest stay, as many as folding keeps.
    """
    known_fields = [c for contributions in definitions.contributions.values() for c in contributions]
    keep = {c.field: c.keep for c in known_fields}
    most = {c.field: kept for c in known_fields if (kept := most_fields(c)) is not None}
    merged: dict[str, list[Any]] = {}
    for state in states:
        for name, entry in state.items():
            known = merged.get(name)
            merged[name] = entry if known is None else _together(known, entry)
    dropped = set(_oldest_cases(merged, most))
    return {name: _newest(entry, keep.get(name)) for name, entry in merged.items() if name not in dropped}


def _oldest_cases(state: State, most: Mapping[str, int]) -> Iterator[str]:
    """Yield the fields of cases, and of events about them, that are too many."""
    fields: dict[str, list[str]] = {}
    for name in state:
        cases, slash, _ = name.partition("/")
        if slash:
            fields.setdefault(cases, []).append(name)
    for cases, names in fields.items():
        kept = most.get(cases, MAX_CASES)
        if len(names) > kept:
            yield from sorted(names, key=lambda name: (state[name][0], name))[:-kept]


def subtract(state: State, increments: Iterable[Increment]) -> State:
    """Return the state without what an event has added to its sums; what is remembered of it stays.

    Tiles that are not there any more are not needed.
    """
    changed = dict(state)
    for one in increments:
        entry = changed.get(one.field)
        if one.value or not entry or is_remembered(entry):
            continue
        changed[one.field] = [
            entry[at] - one.amount if at % 2 and entry[at - 1] == one.index else entry[at]
            for at in range(len(entry))
        ]
    return changed


def is_remembered(entry: list[Any]) -> bool:
    """Return whether an entry is what is remembered of one event, and no sums by tile."""
    return isinstance(entry[1], str)


def _together(a: list[Any], b: list[Any]) -> list[Any]:
    if is_remembered(a) or is_remembered(b):
        return max(a, b, key=lambda entry: (entry[0], str(entry[1])))
    sums = dict(zip(a[::2], a[1::2], strict=True))
    for index, amount in zip(b[::2], b[1::2], strict=True):
        sums[index] = sums.get(index, 0) + amount
    return [number for tile in sorted(sums.items()) for number in tile]


def _newest(entry: list[Any], keep: int | None) -> list[Any]:
    if keep is None or is_remembered(entry):
        return entry
    oldest = entry[-2] - keep
    return [number for at, number in enumerate(entry) if entry[at - at % 2] > oldest]
