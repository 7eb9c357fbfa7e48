"""Reading of what events told: aggregates and interests as they are at a moment.

Windows end now; or, if a clock ran ahead, with the newest event.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from msgspec import json

from profiles.customer import Scalar
from profiles.events.definitions import MILLION, PERIOD_TILES, EventDefinitions, Habit, Window
from profiles.events.fold import State

MAX_DEVIATION = 10.0
"""Deviations are cut to so many standard deviations either way, also where a habit never varied."""

_decode = json.Decoder().decode


def measured(definitions: EventDefinitions, state: State, now_ms: int) -> dict[str, float]:
    """Return what is compared with all customers, by what its distribution is found under.

    Left out is what there was no event of in its window.
    """
    found: dict[str, float] = {}
    edges = [_Edges(window, now_ms) for window in definitions.windows] if definitions.against_all else []
    for _, usual, count_field, sum_field, is_mean, window in definitions.against_all:
        tiles = state.get(count_field)
        count = edges[window].total(tiles) if tiles else 0
        if count:
            total = edges[window].total(state[sum_field]) / MILLION if sum_field else float(count)
            found[usual] = total / count if is_mean else total
    return found


@dataclass(frozen=True, slots=True)
class CaseContacts:
    """The number of events about a case, and whether it is open."""

    events: int
    is_open: bool


def contacts_by_case(state: State, contacts: str, now_ms: int, length_ms: int) -> list[CaseContacts]:
    """Return the cases with events in the window. ``contacts``: what the fields of events about cases begin with."""
    events: dict[str, int] = {}
    last: dict[str, int] = {}
    for field, entry in state.items():
        if field.startswith(contacts):
            index, case = int(entry[0]), str(entry[2])
            last[case] = max(last.get(case, index), index)
            if not index % 2 and index // 2 > now_ms - length_ms:
                events[case] = events.get(case, 0) + 1
    return [CaseContacts(count, not last[case] % 2) for case, count in events.items()]


def most_contacts(state: State, contacts: str, now_ms: int, length_ms: int) -> int:
    """Return the number of events about the open case with the most; 0 if no open one has any in the window."""
    cases = contacts_by_case(state, contacts, now_ms, length_ms)
    return max((case.events for case in cases if case.is_open), default=0)


def read_aggregates(definitions: EventDefinitions, state: State, now_ms: int) -> Mapping[str, Scalar]:
    """Return the value of each aggregate by its id; one that has none is left out.

    Counts and sums are 0 where nothing is known. A mean needs an event in its window, a last value and a recency one
    that is remembered, and a deviation as many earlier periods as its definition says.
    """
    values: dict[str, Scalar] = dict(definitions.defaults)
    if not state:
        return values
    get = state.get
    windows = [_Edges(window, now_ms) for window in definitions.windows]
    for name, count_field, window in definitions.counts:
        tiles = get(count_field)
        if tiles:
            values[name] = windows[window].total(tiles)
    for name, sum_field, window in definitions.sums:
        tiles = get(sum_field)
        if tiles:
            values[name] = windows[window].total(tiles) / MILLION
    for name, count_field, sum_field, window in definitions.means:
        tiles = get(count_field)
        count = windows[window].total(tiles) if tiles else 0
        if count:
            values[name] = windows[window].total(state[sum_field]) / MILLION / count
    for name, last_field, length_ms in definitions.last:
        entry = get(last_field)
        if entry and (length_ms is None or entry[0] > now_ms - length_ms):
            values[name] = _decode(entry[2])
    for name, time_field, unit_ms in definitions.recency:
        entry = get(time_field)
        if entry:
            values[name] = max(0, now_ms - entry[0]) / unit_ms
    for name, habit in definitions.habits:
        if habit.first_field in state:
            deviation = _deviation(habit, state, now_ms)
            if deviation is not None:
                values[name] = deviation
    for name, cases, overdue, length_ms in definitions.cases:
        values[name] = _count_cases(state, cases, now_ms, length_ms, overdue=overdue)
    for name, usual, contacts, window_ms in definitions.contacts:
        if not usual:
            values[name] = most_contacts(state, contacts, now_ms, window_ms)
    return values


def _count_cases(state: State, cases: str, now_ms: int, length_ms: int | None, *, overdue: bool) -> int:
    """Count the cases that are open, or past due if ``overdue``; those that were opened in a window, if it is given."""
    found = 0
    for field, entry in state.items():
        if field.startswith(cases):
            due_ms = int(entry[2])
            counts = 0 < due_ms <= now_ms if overdue else due_ms >= 0
            found += counts and (length_ms is None or entry[0] // 2 > now_ms - length_ms)
    return found


class _Edges:
    """A window as it is now: the number of its oldest tile, and of the one of now."""

    __slots__ = ("newest", "oldest", "window")

    def __init__(self, window: Window, now_ms: int) -> None:
        self.window = window
        self.oldest = (now_ms - window.length_ms) // window.tile_ms
        self.newest = now_ms // window.tile_ms

    def total(self, tiles: Sequence[int]) -> int:
        """Sum up the amounts of the tiles of the window; it ends with the newest tile, if that is later."""
        oldest, newest = self.oldest, tiles[-2]
        if newest < oldest:
            return 0
        if newest > self.newest:
            window = self.window
            oldest = (newest * window.tile_ms - window.length_ms) // window.tile_ms
        if tiles[0] >= oldest:
            return tiles[1] if len(tiles) == 2 else sum(tiles[1::2])
        return sum(tiles[2 * bisect_left(tiles[::2], oldest) + 1 :: 2])


def _deviation(habit: Habit, state: State, now_ms: int) -> float | None:
    """Return by how many standard deviations the current period is off the mean of those before it.

    A period counts if it began after the customer's first event, and (of means) has events; ``None`` with too few.
    """
    counts: Sequence[int] = state.get(habit.count_field, ())
    sums: Sequence[int] = state.get(habit.sum_field, ())
    tiles, tile_ms = counts or sums, habit.tile_ms
    end = now_ms // tile_ms
    if tiles and tiles[-2] > end:
        end = tiles[-2]
    began = -state[habit.first_field][0] // tile_ms
    known = min(habit.periods, (end + 1 - began) // PERIOD_TILES - 1)
    if known < habit.min_periods:
        return None
    if habit.of != "mean":
        current, *earlier = _by_period(tiles, end, known)
        return _standardised(current, earlier)
    pairs = zip(_by_period(sums, end, known), _by_period(counts, end, known), strict=True)
    means = [Fraction(total, count) if count else None for total, count in pairs]
    past = [mean for mean in means[1:] if mean is not None]
    if means[0] is None or len(past) < habit.min_periods:
        return None
    return _standardised(means[0], past)


def _by_period(tiles: Sequence[int], end: int, known: int) -> list[int]:
    """Sum up the amounts of the period that ends with the tile ``end``, and of the ``known`` periods before it."""
    totals = [0] * (known + 1)
    for tile, amount in zip(tiles[-2::-2], tiles[::-2], strict=True):
        period = (end - tile) // PERIOD_TILES
        if period > known:
            break
        totals[period] += amount
    return totals


def _standardised(value: int | Fraction, earlier: Sequence[int | Fraction]) -> float:
    """Return the distance of a value from the mean of earlier ones, in (sample) standard deviations, cut.

    Sums and squares are exact, so nothing is lost where large numbers differ little.
    """
    n = len(earlier)
    total: int | Fraction = 0
    squares: int | Fraction = 0
    for each in earlier:
        total += each
        squares += each * each
    away, spread = n * value - total, n * squares - total * total
    if not away:
        return 0.0
    if not spread:
        return math.copysign(MAX_DEVIATION, away)
    deviation = float(away) * math.sqrt((n - 1) / (n * spread))
    return max(-MAX_DEVIATION, min(MAX_DEVIATION, deviation))


def read_interests(definitions: EventDefinitions, state: State, now_ms: int) -> Mapping[str, float]:
    """Return the score of each concept by its id: never negative, 0 where nothing tells of it.

    Events older than 15 half-lives are left out: they would add less than 1/32,000 of their weight.
    """
    scores = {}
    get = state.get
    for name, field, half_life_ms in definitions.concepts:
        tiles = get(field)
        if not tiles:
            scores[name] = 0.0
            continue
        oldest = tiles[0]
        # Whole numbers: each tile counts twice as much as the one before it.
        total = sum([amount << (tile - oldest) for tile, amount in zip(tiles[::2], tiles[1::2], strict=True)])
        scores[name] = total / MILLION * 2.0 ** min(0.0, oldest - now_ms / half_life_ms)
    return scores


def ranked(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Rank concepts by their scores, the highest first; those of which nothing is known are left out."""
    known = ((name, score) for name, score in scores.items() if score > 0)
    return sorted(known, key=lambda one: (-one[1], one[0]))
