"""``features: auto``: features chosen by a rule from the facts that are known to come. Pure, and the same everywhere.

The rule, in the order of its steps:

1. Facts that were declared come before those that were only observed; then numbers, truth values, texts, lists of
   texts, strengths of interests; then the path. The time of day comes last.
2. Each fact makes one feature: a number over its range (without one, on the logarithmic scale of ``asinh``), a truth
   value as a number from 0 to 1, a text or list as a category of its ``MAX_VALUES`` most frequent values (hashed into
   as many buckets if no values are known), interests by topic likewise. A number that was always there gets the usual
   one as its default, and needs no column for a missing one.
3. While there are more than ``max_columns`` columns, the widest category loses its rarest value (or a bucket), down to
   ``MIN_VALUES``; then the last feature is dropped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

from bandits.features import Encoder, Feature

FactKind = Literal["number", "truth", "text", "texts", "strengths"]
MAX_AUTO_COLUMNS = 48
MAX_VALUES = 8
MIN_VALUES = 2
TIME_OF_DAY = Feature("time", "time_of_day")

_ORDER: Mapping[FactKind, int] = {"number": 0, "truth": 1, "text": 2, "texts": 3, "strengths": 4}
_MAX_NAME_CHARS = 64
_MAX_VALUE_CHARS = 200


@dataclass(frozen=True, slots=True)
class KnownFact:
    """A fact that is known to come with requests.

    ``values``: the values of a text or a list, or the topics of interests, the most frequent first; empty if nobody
    knows them. ``low``, ``high``: the usual range of a number, ``middle``: its usual value; ``None`` if not known.
    ``always``: it has not been seen missing. ``declared``: somebody said that it comes.
    """

    path: str
    kind: FactKind
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    middle: float | None = None
    always: bool = False
    declared: bool = True


def auto_features(facts: Iterable[KnownFact], max_columns: int = MAX_AUTO_COLUMNS) -> tuple[Feature, ...]:
    """Choose features of known facts, with at most ``max_columns`` columns; the rule is told above."""
    ordered = sorted(facts, key=lambda fact: (not fact.declared, _ORDER[fact.kind], fact.path))
    features = [*map(_feature_of, ordered), TIME_OF_DAY]
    widths = [Encoder((feature,)).width for feature in features]
    while sum(widths) > max_columns:
        reducible = [place for place, feature in enumerate(features) if _count_values(feature) > MIN_VALUES]
        if reducible:
            widest = max(reducible, key=lambda place: (widths[place], place))
            features[widest] = _narrowed(features[widest])
            widths[widest] -= 1
        else:
            features.pop()
            widths.pop()
    return tuple(features)


def feature_paths(features: Iterable[Feature]) -> frozenset[str]:
    """Return the paths of the facts that features are made of."""
    return frozenset(feature.path for feature in features if feature.path is not None)


def _feature_of(fact: KnownFact) -> Feature:
    name = _name_of(fact.path)
    if fact.kind == "number":
        default = fact.middle if fact.always else None
        return Feature(name, "numeric", fact.path, low=fact.low, high=fact.high, default=default)
    if fact.kind == "truth":
        default = fact.middle if fact.always else None
        return Feature(name, "numeric", fact.path, low=0.0, high=1.0, default=default)
    values = tuple(value for value in fact.values if 0 < len(value) <= _MAX_VALUE_CHARS)[:MAX_VALUES]
    kind: Literal["category", "interests"] = "interests" if fact.kind == "strengths" else "category"
    if not values:
        return Feature(name, kind, fact.path, buckets=MAX_VALUES)
    if kind == "interests":
        return Feature(name, kind, fact.path, topics=values)
    return Feature(name, kind, fact.path, values=values)


def _name_of(path: str) -> str:
    """Name the feature of a fact; different paths have different names."""
    name = path.replace(".", "-")  # no path has a hyphen
    if len(name) <= _MAX_NAME_CHARS:
        return name
    digest = blake2b(path.encode(), digest_size=4).hexdigest()
    return f"{name[: _MAX_NAME_CHARS - 9]}-{digest}"


def _count_values(feature: Feature) -> int:
    return len(feature.values) + len(feature.topics) + (feature.buckets or 0)


def _narrowed(feature: Feature) -> Feature:
    """Return a feature with one value, topic or bucket less."""
    if feature.buckets is not None:
        return replace(feature, buckets=feature.buckets - 1)
    return replace(feature, values=feature.values[:-1], topics=feature.topics[:-1])
