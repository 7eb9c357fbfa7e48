"""Aggregates and concepts as they are declared: what is to be made of events."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Function = Literal["count", "sum", "mean", "last", "recency", "deviation", "open", "overdue"]
Measure = Literal["count", "sum", "mean"]
Against = Literal["self", "all"]
Unit = Literal["seconds", "hours", "days"]

MIN_WINDOW_MS, MAX_WINDOW_MS = 60_000, 1100 * 86_400_000
MAX_PERIODS = 12
MAX_WEIGHT = 1000.0
UNIT_MS: Mapping[Unit, int] = {"seconds": 1000, "hours": 3_600_000, "days": 86_400_000}
DURATION = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SUFFIX_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(text: str) -> int:
    """Return the ms of a length of time such as ``30m``, ``24h`` or ``7d``. Raises ``ValueError`` for anything else."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no length of time such as 30m, 24h or 7d")
    return int(match[1]) * _SUFFIX_MS[match[2]]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number (or last value) that rules know as ``events.<aggregate_id>``, of the events of one type.

    ``where``: a condition on ``event.<property>`` that an event must meet. ``property``: what is summed up, averaged or
    remembered. ``window``: how far back it looks; for ``deviation`` the length of a period. ``tile``: the length of a
    tile, a sixtieth of the window unless given. For ``deviation``: ``of`` is what is compared, with that of the
    ``periods`` before, of which at least ``min_periods`` must be known; or ``against`` all customers. ``unit``: of
    ``recency``. For ``open`` and ``overdue``, which count cases: ``key`` is the property that tells one from another,
    ``closed_by`` the type of events that close one, and ``due`` the property that says by when. A ``count``, and a
    ``deviation`` against all, with a ``key`` is about the open case with the most events.
    """

    aggregate_id: str
    event: str
    function: Function
    property: str | None = None
    where: str | None = None
    window: str | None = None
    tile: str | None = None
    of: Measure = "count"
    periods: int = 6
    min_periods: int = 3
    unit: Unit = "days"
    key: str | None = None
    closed_by: str | None = None
    due: str | None = None
    against: Against = "self"
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """Events of a type (that meet ``where``) that tell of a concept, each as much as ``weight``."""

    event: str
    weight: float = 1.0
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Concept:
    """An interest, ``interests.<concept_id>`` in rules: weights of events, which lose half in every ``half_life``."""

    concept_id: str
    signals: tuple[Signal, ...] = ()
    half_life: str = "30d"
    name: str = ""
    description: str = ""
