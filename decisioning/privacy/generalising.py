"""Facts of an erased customer, made general: what policies learned from stays what it was to them, bit for bit.

Of the facts that were logged with a decision, those that no policy reads are dropped. Of the others

- numbers, truth values and strengths of interests stay,
- texts that a policy declares (the values of a category) stay: many customers have them,
- other texts are replaced by one of the form ``~17``, chosen so that every registered policy encodes it as it encoded
  the text: to a one-hot category all unknown texts are the same, and among those that are hashed into few buckets
  there are others in the same one.

A policy that is given texts as they are, and not as features, gets another one; ``inexact`` says so.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import numpy as np

from bandits.feature_columns import hash_bucket
from bandits.features import Encoder, Feature
from bandits.policy import Facts

MAX_TEXTS = 300_000
"""Texts that are tried for one that is hashed like another."""
MAX_TRIES = 500
"""Choices of texts that are tried for one with which crosses of categories are the same."""


@dataclass(slots=True)
class _Reading:
    """The ways in which policies read the fact at a path."""

    declared: set[str] = field(default_factory=set)
    hashed: set[tuple[str, int]] = field(default_factory=set)
    as_it_is: bool = False


@dataclass(frozen=True, slots=True)
class GeneralFacts:
    """Facts that were made general. ``inexact``: some policy may learn something else from them."""

    facts: dict[str, Any]
    inexact: bool


class Generaliser:
    """Makes facts general for the policies whose ``encoders`` are given.

    ``as_they_are``: the features of those that are given texts as they are.
    """

    def __init__(self, encoders: Iterable[Encoder], as_they_are: Iterable[Feature] = ()) -> None:
        self._encoders = list({encoder.features: encoder for encoder in encoders}.values())
        self._readings: dict[str, _Reading] = {}
        for encoder in self._encoders:
            for path in encoder.paths:
                self._readings.setdefault(path, _Reading())
            for feature in encoder.features:
                self._note(feature)
        for feature in as_they_are:
            if feature.path is not None and feature.kind == "category" and not feature.values:
                self._readings.setdefault(feature.path, _Reading()).as_it_is = True
        self._texts: dict[tuple[str, tuple[int, ...]], Iterator[str]] = {}
        self._found: dict[tuple[str, tuple[int, ...]], list[str]] = {}

    def _note(self, feature: Feature) -> None:
        if feature.path is None:
            return
        reading = self._readings.setdefault(feature.path, _Reading())
        reading.declared.update(feature.values)
        if feature.kind == "category" and feature.buckets:
            reading.hashed.add((feature.name, feature.buckets))

    def generalise(self, facts: Facts, at_ms: int) -> GeneralFacts:
        """Make the facts of a decision at a time (Unix ms) general."""
        read = {path: value for path, value in facts.items() if path in self._readings}
        before = [encoder.encode(facts, at_ms) for encoder in self._encoders]
        first = self._replaced(read, 0)
        raw = any(self._readings[path].as_it_is and first[path] != read[path] for path in read)
        for attempt in range(MAX_TRIES):
            made = first if not attempt else self._replaced(read, attempt)
            encoded = (encoder.encode(made, at_ms) for encoder in self._encoders)
            if all(np.array_equal(x, y) for x, y in zip(encoded, before, strict=True)):
                return GeneralFacts(made, raw)
        return GeneralFacts(first, True)

    def _replaced(self, facts: Mapping[str, Any], attempt: int) -> dict[str, Any]:
        return {path: self._replace(path, value, attempt) for path, value in facts.items()}

    def _replace(self, path: str, value: Any, attempt: int) -> Any:
        if isinstance(value, str):
            return self._text_like(path, value, attempt)
        if isinstance(value, list | tuple):
            return [self._replace(path, one, attempt) for one in value if isinstance(one, str)]
        return value

    def _text_like(self, path: str, text: str, attempt: int) -> str:
        """Return the text at the place ``attempt`` among those that are read like another."""
        reading = self._readings[path]
        if text in reading.declared:
            return text
        hashed = sorted(reading.hashed)
        buckets = tuple(hash_bucket(name, text, size) for name, size in hashed)
        known = self._found.setdefault((path, buckets), [])
        if len(known) <= attempt:
            texts = self._texts.setdefault(
                (path, buckets), _texts_in(hashed, buckets, frozenset(reading.declared))
            )
            known += islice(texts, attempt + 1 - len(known))
        return known[min(attempt, len(known) - 1)] if known else "~"


def _texts_in(
    hashed: Collection[tuple[str, int]], buckets: tuple[int, ...], declared: frozenset[str]
) -> Iterator[str]:
    """Yield texts that fall into the given bucket of each feature (name and number of buckets)."""
    for number in count(1):
        text = f"~{number}"
        if number > MAX_TEXTS:
            return
        if text not in declared and all(
            hash_bucket(name, text, size) == bucket
            for (name, size), bucket in zip(hashed, buckets, strict=True)
        ):
            yield text
