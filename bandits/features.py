"""Features: encoding the facts of a request as the numbers that a model learns from."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError, did_you_mean
from bandits.feature_columns import (
    Crossed,
    FeatureColumns,
    Hashed,
    Interests,
    Numeric,
    OneHot,
    TimeOfDay,
    Weekday,
    column_positions,
)

Kind = Literal["numeric", "category", "cross", "time_of_day", "weekday", "interests", "propensity"]
PATH = re.compile(
    r"(customer|context)(\.[A-Za-z_][A-Za-z0-9_]*){1,4}|(events|interests)\.[A-Za-z_][A-Za-z0-9_]*"
)
HISTORY_PATH = re.compile(r"history\.[a-z_]+\([^()]{1,160}\)")
"""A question about the customer's own history, as rules ask it; whoever registers a policy looks into it."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
MAX_COLUMNS = 64
MAX_NUMBER = 1e15
OPTIONS: Mapping[Kind, tuple[str, ...]] = {
    "numeric": ("path", "low", "high", "default"),
    "category": ("path", "values", "buckets"),
    "cross": ("of", "buckets"),
    "time_of_day": ("time_zone", "harmonics"),
    "weekday": ("time_zone",),
    "interests": ("path", "topics", "buckets"),
    "propensity": (),
}
"""The keys of a feature of each kind, apart from its name."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature: a name, what kind it is, and what it is made of; ``OPTIONS`` says what each kind takes.

    ``path``: the fact that is read. ``low``, ``high``: the range of a number; ``default``: what a missing one is taken
    for. ``values``: the known values of a category; ``topics``: those of interests; else ``buckets``: how many
    columns they are hashed into. ``of``: the two categories of a cross. ``time_zone``: an IANA name.
    ``harmonics``: 1, or 2 where a day has two peaks.
    """

    name: str
    kind: Kind
    path: str | None = None
    low: float | None = None
    high: float | None = None
    default: float | None = None
    values: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    buckets: int | None = None
    of: tuple[str, ...] = ()
    time_zone: str = "UTC"
    harmonics: int = 1


class Encoder:
    """Encodes facts into a vector of numbers between -4 and 4. Pure, and the same in every process.

    ``width``, ``columns``: how many numbers, and what they are called. ``paths``: all facts that are read. ``scaled``:
    the columns of numbers as they were measured, each with its indicator column for a missing value (``None`` if it has
    none). ``propensity``: whether the precomputed propensity is a feature; it differs from candidate
    to candidate, so models add it to each, and it is not among ``columns``.

    Raises
    ------
    PolicyParameterError
        If the features cannot be; its ``field`` says which (``features[2].path``).
    """

    def __init__(self, features: tuple[Feature, ...] = ()) -> None:
        self.features = features
        _check_features(features)
        categories: dict[str, OneHot | Hashed] = {}
        for feature in features:
            if feature.kind == "category":
                categories[feature.name] = _make_category(feature)
        made = [_make_columns(feature, categories) for feature in features if feature.kind != "propensity"]
        self.propensity = len(made) < len(features)
        starts = np.cumsum([0, *(len(each.columns) for each in made)]).tolist()
        self.width: int = starts[-1]
        # Models add two columns for the propensity: its log odds, and an indicator that there is none.
        total = self.width + 2 * self.propensity
        if total > MAX_COLUMNS:
            raise PolicyParameterError(
                f"these features make {total} columns, and {MAX_COLUMNS} are the most: use fewer values or buckets",
                "features",
            )
        self.columns: tuple[str, ...] = tuple(name for each in made for name in each.columns)
        self.paths: frozenset[str] = frozenset(path for each in made for path in each.paths)
        self._made: tuple[tuple[FeatureColumns, int], ...] = tuple(zip(made, starts[:-1], strict=True))
        self.scaled: tuple[tuple[int, int | None], ...] = tuple(
            (start, start + 1 if len(each.columns) > 1 else None)
            for each, start in self._made
            if isinstance(each, Numeric)
        )

    def encode(self, facts: Mapping[str, Any], at_ms: int) -> NDArray[np.float64]:
        """Encode ``facts`` at a time (Unix ms) as the values of all columns: shape ``(width,)``."""
        x = np.zeros(self.width)
        for columns, start in self._made:
            columns.fill(x, start, facts, at_ms)
        return x


def _make_category(feature: Feature) -> OneHot | Hashed:
    assert feature.path is not None
    if feature.buckets:
        return Hashed(feature.name, feature.path, feature.buckets)
    return OneHot(feature.name, feature.path, column_positions(feature.values))


def _make_columns(feature: Feature, categories: Mapping[str, OneHot | Hashed]) -> FeatureColumns:
    name, path = feature.name, feature.path or ""
    match feature.kind:
        case "numeric":
            return Numeric(name, path, feature.low, feature.high, feature.default)
        case "category":
            return categories[name]
        case "cross":
            return Crossed(name, (categories[feature.of[0]], categories[feature.of[1]]), feature.buckets or 0)
        case "time_of_day":
            return TimeOfDay(name, ZoneInfo(feature.time_zone), feature.harmonics)
        case "weekday":
            return Weekday(name, ZoneInfo(feature.time_zone))
        case "interests":
            return Interests(name, path, column_positions(feature.topics), feature.buckets or 0)
    raise AssertionError(feature.kind)


def _check_features(features: tuple[Feature, ...]) -> None:
    """Raise ``PolicyParameterError`` for the first feature that is not valid."""
    names: set[str] = set()
    categories = {feature.name for feature in features if feature.kind == "category"}
    for i, feature in enumerate(features):
        try:
            _check_feature(feature, categories)
            _require(feature.name not in names, "name", f"another feature is called {feature.name!r} too")
        except PolicyParameterError as error:
            raise PolicyParameterError(str(error), f"features[{i}].{error.field}") from None
        names.add(feature.name)
    if sum(feature.kind == "propensity" for feature in features) > 1:
        raise PolicyParameterError("the propensity can be a feature once only", "features")


def _require(holds: Any, field: str, message: str) -> None:
    if not holds:
        raise PolicyParameterError(message, field)


def _check_feature(feature: Feature, categories: set[str]) -> None:
    name, kind = feature.name, feature.kind
    _require(
        NAME.fullmatch(name),
        "name",
        f"a feature's name is letters, digits, _ and - (at most 64), beginning with a letter, not {name!r}",
    )
    kinds = get_args(Kind)
    _require(
        kind in kinds,
        "kind",
        f"a feature is one of {', '.join(kinds)}, not {kind!r}{did_you_mean(kind, kinds)}",
    )
    for field in fields(feature)[2:]:
        if getattr(feature, field.name) != field.default:  # an option was given: its kind must have it
            have = ", ".join(OPTIONS[kind]) or "nothing but a name"
            _require(field.name in OPTIONS[kind], field.name, f"a {kind} feature takes {have}")
    if "path" in OPTIONS[kind]:
        path = feature.path
        _require(path is not None, "path", f"a {kind} feature needs the path of a fact, such as customer.age")
        _require(
            isinstance(path, str) and (PATH.fullmatch(path) or HISTORY_PATH.fullmatch(path)),
            "path",
            "a path is customer.…, context.…, events.… or interests.…, such as customer.age, or a question to the"
            f" history, such as history.count_rejected('*', '30d'), not {path!r}",
        )
    if kind == "numeric":
        _check_range(feature)
    elif kind in ("category", "interests"):
        _check_values(feature, "values" if kind == "category" else "topics")
    elif kind == "cross":
        _check_cross(feature, categories)
    elif kind in ("time_of_day", "weekday"):
        _check_time(feature)


def _check_range(feature: Feature) -> None:
    for name in ("low", "high", "default"):
        value = getattr(feature, name)
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER
        _require(value is None or number, name, f"{name} is a number up to {MAX_NUMBER:g}, not {value!r}")
    low, high = feature.low, feature.high
    if low is None or high is None:
        missing = "low" if low is None else "high"
        _require(low is None and high is None, missing, "a range has both low and high")
        return
    _require(
        low < high and math.isfinite(2.0 / (high - low)), "high", f"high is above low ({low}), not {high!r}"
    )


def _check_values(feature: Feature, field: str) -> None:
    values = getattr(feature, field)
    both = f"a {feature.kind} feature has {field}, or buckets to hash them into"
    _require(bool(values) != (feature.buckets is not None), field, f"{both}: one of the two")
    if feature.buckets is not None:
        _check_buckets(feature)
        return
    texts = all(isinstance(value, str) and 0 < len(value) <= 200 for value in values)
    _require(texts, field, f"{field} are texts of 1 to 200 characters")
    _require(len(set(values)) == len(values), field, f"{field} must be different from each other")


def _check_buckets(feature: Feature) -> None:
    whole = isinstance(feature.buckets, int) and not isinstance(feature.buckets, bool)
    _require(
        whole and 2 <= (feature.buckets or 0) <= MAX_COLUMNS,
        "buckets",
        f"buckets is a whole number from 2 to {MAX_COLUMNS}, not {feature.buckets!r}",
    )


def _check_cross(feature: Feature, categories: set[str]) -> None:
    of = feature.of
    _require(
        len(of) == 2 and of[0] != of[1], "of", "a cross is of the names of two different category features"
    )
    for name in of:
        hint = did_you_mean(name, categories)
        _require(name in categories, "of", f"no category feature is called {name!r}{hint}")
    _check_buckets(feature)


def _check_time(feature: Feature) -> None:
    zone = feature.time_zone
    try:
        ZoneInfo(zone)
    except Exception:  # whatever it raises for a name that is none
        _require(False, "time_zone", f"a time zone is an IANA name such as Europe/Berlin, not {zone!r}")
    whole = isinstance(feature.harmonics, int)
    _require(
        whole and feature.harmonics in (1, 2), "harmonics", f"harmonics is 1 or 2, not {feature.harmonics!r}"
    )


NO_ENCODER = Encoder()
