"""Features: how the facts of a request become the numbers that a model learns from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["numeric", "category", "cross", "time_of_day", "weekday", "interests", "propensity"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature: a name, what kind it is, and the path of the fact that it is made of."""

    name: str
    kind: Kind
    path: str | None = None


class Encoder:
    """Encodes facts into a vector; the facts are those under ``paths``."""

    def __init__(self, features: tuple[Feature, ...] = ()) -> None:
        self.features = features
        self.width = 0
        self.columns: tuple[str, ...] = ()
        self.paths: frozenset[str] = frozenset()
        self.propensity = any(feature.kind == "propensity" for feature in features)
        self.scaled: tuple[tuple[int, int | None], ...] = ()

    def encode(self, facts: Mapping[str, Any], at_ms: int) -> NDArray[np.float64]:
        """The columns of ``facts`` at a time (Unix ms): shape ``(width,)``."""
        return np.zeros(self.width)


NO_ENCODER = Encoder()
