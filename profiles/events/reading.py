"""Reading of what events told: aggregates and interests as they are at a moment.

Windows end now; or, if a clock ran ahead, with the newest event.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from msgspec import json

from profiles.customer import Scalar
from profiles.events.definitions import MILLION, PERIOD_TILES, EventDefinitions, Habit
from profiles.events.fold import State

MAX_DEVIATION = 10.0
"""Deviations are cut to so many standard deviations either way, also where a habit never varied."""

_decode = json.Decoder().decode


def read_aggregates(definitions: EventDefinitions, state: State, now_ms: int) -> Mapping[str, Scalar]:
    """Return the value of each aggregate by its id; one that has none is left out.

    Counts and sums are 0 where nothing is known. A mean needs an event in its window, a last value and a recency one
    that is remembered, and a deviation as many earlier periods as its definition says.
    """
    values: dict[str, Scalar] = dict(definitions.defaults)
    if not state:
        return values
    get = state.get
    windows = [
        ((now_ms - w.length_ms) // w.tile_ms, now_ms // w.tile_ms, w.length_ms, w.tile_ms)
        for w in definitions.windows
    ]
    for name, count_field, window in definitions.counts:
        tiles = get(count_field)
        if tiles:
            values[name] = _total(tiles, *windows[window])
    for name, sum_field, window in definitions.sums:
        tiles = get(sum_field)
        if tiles:
            values[name] = _total(tiles, *windows[window]) / MILLION
    for name, count_field, sum_field, window in definitions.means:
        tiles = get(count_field)
        count = _total(tiles, *windows[window]) if tiles else 0
        if count:
            values[name] = _total(state[sum_field], *windows[window]) / MILLION / count
    for name, last_field, length_ms in definitions.last:
        entry = get(last_field)
        if entry and (length_ms is None or entry[0] > now_ms - length_ms):
            values[name] = _decode(entry[2])
    for name, time_field, unit_ms in definitions.recency:
        entry = get(time_field)
        if entry:
            values[name] = max(0, now_ms - entry[0]) / unit_ms
    for name, habit in definitions.habits:
        deviation = _deviation(habit, state, now_ms)
        if deviation is not None:
            values[name] = deviation
    return values


def _total(tiles: Sequence[int], oldest: int, now: int, length_ms: int, tile_ms: int) -> int:
    """Sum up the amounts of tiles from ``oldest`` on; of those of a window that ends with the newest, if later."""
    newest = tiles[-2]
    if newest > now:
        oldest = (newest * tile_ms - length_ms) // tile_ms
    if tiles[0] >= oldest:
        return sum(tiles[1::2])
    at = len(tiles)
    while at and tiles[at - 2] >= oldest:
        at -= 2
    return sum(tiles[at + 1 :: 2])


def _deviation(habit: Habit, state: State, now_ms: int) -> float | None:
    """Return by how many standard deviations the current period is off the mean of those before it.

    A period counts if it began after the customer's first event, and (of means) has events; ``None`` with too few.
    """
    first = state.get(habit.first_field)
    if not first:
        return None
    counts, sums = state.get(habit.count_field, ()), state.get(habit.sum_field, ())
    tiles = counts or sums
    end = max(now_ms // habit.tile_ms, tiles[-2]) if tiles else now_ms // habit.tile_ms
    began = -first[0] // habit.tile_ms
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
    indices, amounts = tiles[::2], tiles[1::2]
    edges = [bisect_right(indices, end - PERIOD_TILES * period) for period in range(known + 2)]
    return [sum(amounts[start:stop]) for stop, start in pairwise(edges)]


def _standardised(value: int | Fraction, earlier: Sequence[int | Fraction]) -> float:
    """Return the distance of a value from the mean of earlier ones, in (sample) standard deviations, cut.

    Sums and squares are exact, so nothing is lost where large numbers differ little.
    """
    n, total = len(earlier), sum(earlier)
    away = n * value - total
    if not away:
        return 0.0
    spread = n * sum(each * each for each in earlier) - total * total
    if not spread:
        return math.copysign(MAX_DEVIATION, away)
    deviation = float(away) / math.sqrt(n * spread / (n - 1))
    return max(-MAX_DEVIATION, min(MAX_DEVIATION, deviation))


def read_interests(definitions: EventDefinitions, state: State, now_ms: int) -> Mapping[str, float]:
    """Return the score of each concept by its id: never negative, 0 where nothing tells of it.

    Events older than 15 half-lives are left out: they would add less than 1/32,000 of their weight.
    """
    scores = {}
    for name, field, half_life_ms in definitions.concepts:
        tiles = state.get(field)
        score = 0.0
        if tiles:
            # From the oldest to the newest: what came before loses half with each tile.
            at = tiles[0]
            for place in range(0, len(tiles), 2):
                score = score * 0.5 ** (tiles[place] - at) + tiles[place + 1]
                at = tiles[place]
            score = score / MILLION * 2.0 ** min(0.0, (at * half_life_ms - now_ms) / half_life_ms)
        scores[name] = score
    return scores


def ranked(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Rank concepts by their scores, the highest first; those of which nothing is known are left out."""
    known = ((name, score) for name, score in scores.items() if score > 0)
    return sorted(known, key=lambda one: (-one[1], one[0]))
