"""How each kind of feature turns facts into columns. All are pure, and bounded by 4 whatever the facts are.

Each has ``columns``, the names of what it fills, ``paths``, the facts that it reads, and ``fill``, which writes into
``x`` from its own first column on. ``x`` is given as zeros.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

MAX_COLUMN_VALUE = 4.0
_ASINH_SCALE = 8.0
_MAX_CROSSED_VALUES = 8
_DAY_S = 86_400.0


class FeatureColumns(Protocol):
    """The columns of one feature."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Their names."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """The facts that are read."""
        ...

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write into ``x[start : start + len(columns)]``."""
        ...


def hash_bucket(name: str, value: str, buckets: int) -> int:
    """The bucket of a value, which depends on the feature's name, the value and the number of buckets alone.

    Different values may share a bucket (Weinberger et al., *Feature hashing for large scale multitask learning*,
    ICML 2009); another name hashes into other collisions.
    """
    digest = blake2b(f"{name}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % buckets


def finite_number(value: Any) -> float | None:
    """A finite number (a truth value counts as 0 or 1), else ``None``."""
    if not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def category_text(value: Any) -> str | None:
    """A text, truth value or number as the text that it is compared by (``1`` and ``1.0`` are equal), else ``None``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 2**63 else None
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
    return None


def category_texts(value: Any) -> list[str] | None:
    """The texts of a value or of a list of values; ``None`` if there is none that can be read."""
    one = category_text(value)
    if one is not None:
        return [one]
    if not isinstance(value, list | tuple):
        return None
    found = [text for text in map(category_text, value) if text is not None]
    return None if value and not found else found


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number: from -1 to 1 over a declared range, else ``asinh(value) / 8``; clipped.

    Where it is missing: ``default`` if there is one, else 0 and 1 in an indicator column.
    """

    name: str
    path: str
    low: float | None
    high: float | None
    default: float | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The value, and whether it is missing."""
        return (self.name,) if self.default is not None else (self.name, f"{self.name}?")

    @property
    def paths(self) -> tuple[str, ...]:
        """One."""
        return (self.path,)

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write the value or the indicator."""
        value = finite_number(facts.get(self.path))
        if value is None:
            value = self.default
        if value is None:
            x[start + 1] = 1.0
            return
        if self.low is None or self.high is None:
            scaled = math.asinh(value) / _ASINH_SCALE
        else:
            scaled = 2.0 * ((value - self.low) / (self.high - self.low)) - 1.0
        x[start] = min(max(scaled, -MAX_COLUMN_VALUE), MAX_COLUMN_VALUE)


@dataclass(frozen=True, slots=True)
class OneHot:
    """A column for each known value, one for all others, and an indicator that it is missing."""

    name: str
    path: str
    places: Mapping[str, int]

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the values, of others, and of the indicator."""
        return (*(f"{self.name}={value}" for value in self.places), f"{self.name}=other", f"{self.name}?")

    @property
    def paths(self) -> tuple[str, ...]:
        """One."""
        return (self.path,)

    def levels(self, facts: Mapping[str, Any]) -> list[str] | None:
        """The values as they are told apart: all unknown ones are one (an empty text stands for it)."""
        found = category_texts(facts.get(self.path))
        return None if found is None else [f"={text}" if text in self.places else "" for text in found]

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write ones."""
        found = category_texts(facts.get(self.path))
        if found is None:
            x[start + len(self.places) + 1] = 1.0
            return
        for text in found:
            x[start + self.places.get(text, len(self.places))] = 1.0


@dataclass(frozen=True, slots=True)
class Hashed:
    """A column for each bucket that values fall into, and an indicator that it is missing."""

    name: str
    path: str
    buckets: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the buckets, and of the indicator."""
        return (*_bucket_names(self.name, self.buckets), f"{self.name}?")

    @property
    def paths(self) -> tuple[str, ...]:
        """One."""
        return (self.path,)

    def levels(self, facts: Mapping[str, Any]) -> list[str] | None:
        """The values themselves."""
        found = category_texts(facts.get(self.path))
        return None if found is None else [f"={text}" for text in found]

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write ones."""
        found = category_texts(facts.get(self.path))
        if found is None:
            x[start + self.buckets] = 1.0
            return
        for text in found:
            x[start + hash_bucket(self.name, text, self.buckets)] = 1.0


@dataclass(frozen=True, slots=True)
class Crossed:
    """The pairs of the values of two categories, hashed; zeros where one is missing. Of lists, the first 8 count."""

    name: str
    of: tuple[OneHot | Hashed, OneHot | Hashed]
    buckets: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the buckets."""
        return _bucket_names(self.name, self.buckets)

    @property
    def paths(self) -> tuple[str, ...]:
        """Those of the two."""
        return (*self.of[0].paths, *self.of[1].paths)

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write ones."""
        first, second = self.of[0].levels(facts), self.of[1].levels(facts)
        for one in (first or ())[:_MAX_CROSSED_VALUES]:
            for other in (second or ())[:_MAX_CROSSED_VALUES]:
                # The length keeps ("ab", "c") and ("a", "bc") apart.
                x[start + hash_bucket(self.name, f"{len(one)}{one}{other}", self.buckets)] = 1.0


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Sine and cosine of the local time, so that midnight is no edge; with 2 harmonics those of half days too."""

    name: str
    zone: ZoneInfo
    harmonics: int
    paths: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Sine and cosine of each harmonic."""
        kinds = ("sin", "cos", "sin2", "cos2")[: 2 * self.harmonics]
        return tuple(f"{self.name}.{kind}" for kind in kinds)

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write them all."""
        t = _local_time(at_ms, self.zone)
        seconds = t.hour * 3600 + t.minute * 60 + t.second + t.microsecond * 1e-6
        for harmonic in range(self.harmonics):
            angle = 2.0 * math.pi * (harmonic + 1) * seconds / _DAY_S
            x[start + 2 * harmonic] = math.sin(angle)
            x[start + 2 * harmonic + 1] = math.cos(angle)


@dataclass(frozen=True, slots=True)
class Weekday:
    """One of seven columns, from Monday, by local time."""

    name: str
    zone: ZoneInfo
    paths: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Monday to Sunday."""
        return tuple(f"{self.name}={day}" for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"))

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write a one."""
        x[start + _local_time(at_ms, self.zone).weekday()] = 1.0


@dataclass(frozen=True, slots=True)
class Interests:
    """How strong a customer's interests are, between -1 and 1: by known topic, or added up in hashed buckets."""

    name: str
    path: str
    places: Mapping[str, int]
    buckets: int

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the topics or buckets, and of the indicator that nothing is known."""
        known = (*(f"{self.name}.{topic}" for topic in self.places), *_bucket_names(self.name, self.buckets))
        return (*known, f"{self.name}?")

    @property
    def paths(self) -> tuple[str, ...]:
        """One."""
        return (self.path,)

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write the strengths."""
        interests = facts.get(self.path)
        if not isinstance(interests, Mapping):
            x[start + len(self.places) + self.buckets] = 1.0
            return
        if not self.buckets:
            for topic, place in self.places.items():
                x[start + place] = _clip_strength(interests.get(topic))
            return
        for topic in sorted(key for key in interests if isinstance(key, str)):  # sums depend on the order
            at = start + hash_bucket(self.name, topic, self.buckets)
            x[at] = min(max(x[at] + _clip_strength(interests[topic]), -1.0), 1.0)


def column_positions(values: Sequence[str]) -> dict[str, int]:
    """Where each value's column is."""
    return {value: place for place, value in enumerate(values)}


def _clip_strength(value: Any) -> float:
    return min(max(finite_number(value) or 0.0, -1.0), 1.0)


def _bucket_names(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}#{place}" for place in range(count))


def _local_time(at_ms: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000.0, zone)
