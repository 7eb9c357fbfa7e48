"""The kinds of features, and the columns that each makes of facts. All are pure, and bounded by 4."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import product
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bandits.exact_math import asinh_of, sin_cos_of_turns

MAX_COLUMN_VALUE = 4.0
_ASINH_SCALE = 8.0
_MAX_CROSSED_VALUES = 8
_DAY_S = 86_400.0


class FeatureColumns(Protocol):
    """The columns of one feature."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the facts that are read."""
        ...

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write the values into ``x[start : start + len(columns)]``, which holds zeros."""
        ...


class _OfOneFact:
    """Columns of the fact at ``path``."""

    __slots__ = ()
    path: str

    @property
    def paths(self) -> tuple[str, ...]:
        """The one fact that is read."""
        return (self.path,)


def hash_bucket(name: str, value: str, buckets: int) -> int:
    """Return the bucket of a value, which depends on the feature's name, the value and the number of buckets alone.

    Different values may share a bucket (Weinberger et al., *Feature hashing for large scale multitask learning*,
    ICML 2009); another name hashes into other collisions.
    """
    # Not hash(): it differs from process to process. A NUL keeps ("ab", "c") and ("a", "bc") apart.
    digest = blake2b(f"{name}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % buckets


def finite_number(value: Any) -> float | None:
    """Return a finite number (a truth value counts as 0 or 1), else ``None``."""
    if not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def category_text(value: Any) -> str | None:
    """Return a text, truth value or number as the text it is compared by (``1`` equals ``1.0``), else ``None``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):  # before int, of which bool is a subclass
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if abs(value) < 2**63 else None
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
    return None


def category_texts(value: Any) -> list[str] | None:
    """Return the texts of a value or of a list of values; ``None`` if none of them can be read."""
    one = category_text(value)
    if one is not None:
        return [one]
    if not isinstance(value, list | tuple):
        return None
    found = [text for text in map(category_text, value) if text is not None]
    return None if value and not found else found


@dataclass(frozen=True, slots=True)
class Numeric(_OfOneFact):
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
        """The value, and unless there is a default the indicator that it is missing."""
        return (self.name,) if self.default is not None else (self.name, f"{self.name}?")

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write the scaled value, or the indicator."""
        value = finite_number(facts.get(self.path))
        if value is None:
            value = self.default
        if value is None:
            x[start + 1] = 1.0
            return
        if self.low is None or self.high is None:
            scaled = asinh_of(value) / _ASINH_SCALE  # like a logarithm, but defined for 0 and below
        else:
            scaled = 2.0 * ((value - self.low) / (self.high - self.low)) - 1.0
        x[start] = min(max(scaled, -MAX_COLUMN_VALUE), MAX_COLUMN_VALUE)


@dataclass(frozen=True, slots=True)
class OneHot(_OfOneFact):
    """A column for each known value, one for all others, and an indicator that it is missing."""

    name: str
    path: str
    places: Mapping[str, int]

    @property
    def columns(self) -> tuple[str, ...]:
        """One for each value, one for all others, and the indicator."""
        known = [f"{self.name}={value}" for value in self.places]
        return (*known, f"{self.name}=other", f"{self.name}?")

    def levels(self, facts: Mapping[str, Any]) -> list[str]:
        """Return the values as a cross tells them apart: all unknown ones are one level, the empty text."""
        found = category_texts(facts.get(self.path)) or ()
        return [f"={text}" if text in self.places else "" for text in found]

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write 1 for each value, or the indicator."""
        found = category_texts(facts.get(self.path))
        if found is None:
            x[start + len(self.places) + 1] = 1.0
            return
        for text in found:
            x[start + self.places.get(text, len(self.places))] = 1.0


@dataclass(frozen=True, slots=True)
class Hashed(_OfOneFact):
    """A column for each bucket that values fall into, and an indicator that it is missing."""

    name: str
    path: str
    buckets: int

    @property
    def columns(self) -> tuple[str, ...]:
        """One for each bucket, and the indicator."""
        return (*_bucket_names(self.name, self.buckets), f"{self.name}?")

    def levels(self, facts: Mapping[str, Any]) -> list[str]:
        """Return the values as a cross tells them apart: each is a level of its own."""
        # Not the bucket: values that share one are still told apart in a cross.
        return [f"={text}" for text in category_texts(facts.get(self.path)) or ()]

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write 1 in the bucket of each value, or the indicator."""
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
        """One for each bucket."""
        return _bucket_names(self.name, self.buckets)

    @property
    def paths(self) -> tuple[str, ...]:
        """The facts of both categories."""
        return (*self.of[0].paths, *self.of[1].paths)

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write 1 in the bucket of each pair."""
        first, second = (category.levels(facts)[:_MAX_CROSSED_VALUES] for category in self.of)
        for one, other in product(first, second):
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
        """Write sine and cosine of each harmonic."""
        t = _local_time(at_ms, self.zone)
        seconds = t.hour * 3600 + t.minute * 60 + t.second + t.microsecond * 1e-6
        for harmonic in range(self.harmonics):
            turns = (harmonic + 1) * (seconds / _DAY_S)
            x[start + 2 * harmonic], x[start + 2 * harmonic + 1] = sin_cos_of_turns(turns)


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
        """Write 1 in the column of the day."""
        x[start + _local_time(at_ms, self.zone).weekday()] = 1.0


@dataclass(frozen=True, slots=True)
class Interests(_OfOneFact):
    """Strengths of a customer's interests, between -1 and 1: by known topic, or added up in hashed buckets."""

    name: str
    path: str
    places: Mapping[str, int]
    buckets: int

    @property
    def columns(self) -> tuple[str, ...]:
        """One for each topic or bucket, and the indicator that nothing is known."""
        known = [f"{self.name}.{topic}" for topic in self.places]
        return (*known, *_bucket_names(self.name, self.buckets), f"{self.name}?")

    def fill(self, x: NDArray[np.float64], start: int, facts: Mapping[str, Any], at_ms: int) -> None:
        """Write the strengths, or the indicator."""
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
    """Map each value to the position of its column."""
    return {value: place for place, value in enumerate(values)}


def _clip_strength(value: Any) -> float:
    return min(max(finite_number(value) or 0.0, -1.0), 1.0)


def _bucket_names(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}#{place}" for place in range(count))


def _local_time(at_ms: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000.0, zone)
