"""The input of a river model for a candidate: a flat dictionary of declared facts, the offer, and its propensity."""

from collections.abc import Iterable, Mapping
from typing import Any

from bandits.errors import PolicyParameterError
from bandits.features import Encoder, Feature
from bandits.policy import Facts, FloatArray

INPUT_KINDS = ("facts", "features", "both")
MAX_NUMBER = 1e9
MAX_TEXT_LENGTH = 64
OTHER_VALUE = "(other)"
RESERVED_NAMES = ("offer", "propensity")


class ModelInputs:
    """Makes the same dictionary of the same request, at the decision and when its facts are read from the log.

    Under the name of a numeric feature stands its fact as ``float``, held within the declared range; under that of a
    category its text, or ``(other)`` if values are declared and it is none of them; under ``name.topic`` each
    strength of interests. What is missing, or not of the kind that was declared, is left out. With ``features`` come
    the encoder's columns instead (``x.<column>``), with ``both`` as well. No value that anybody sends can be
    huge, or no number.
    """

    def __init__(self, features: tuple[Feature, ...], inputs: str) -> None:
        for i, feature in enumerate(features):
            if feature.name in RESERVED_NAMES and feature.kind != "propensity":
                raise PolicyParameterError(
                    f"the name {feature.name!r} is that of something a model is given anyway",
                    f"features[{i}].name",
                )
        self.encoder = Encoder(features)
        self.described = (inputs, features)
        self._raw = features if inputs != "features" else ()
        self._encoded = () if inputs == "facts" else tuple(f"x.{name}" for name in self.encoder.columns)

    def request(self, facts: Facts, x: FloatArray) -> dict[str, Any]:
        """Return the part that is the same for all candidates. ``x``: the encoded features."""
        seen: dict[str, Any] = {}
        for feature in self._raw:
            if feature.path is not None and (value := facts.get(feature.path)) is not None:
                seen.update(_read_feature(feature, value))
        if self._encoded:
            seen.update(zip(self._encoded, x.tolist(), strict=True))
        return seen

    @staticmethod
    def candidate(seen: Mapping[str, Any], offer: int, base_propensity: float) -> dict[str, Any]:
        """Add the offer's number, as text, and the precomputed propensity where there is one."""
        if base_propensity == base_propensity:
            return {**seen, "offer": str(offer), "propensity": base_propensity}
        return {**seen, "offer": str(offer)}


def _read_feature(feature: Feature, value: Any) -> Iterable[tuple[str, Any]]:
    if feature.kind == "numeric":
        number = _finite_number(value)
        if number is not None:
            low = -MAX_NUMBER if feature.low is None else feature.low
            high = MAX_NUMBER if feature.high is None else feature.high
            yield feature.name, min(max(number, low), high)
    elif feature.kind == "category":
        yield feature.name, _category_text(value, feature.values)
    elif feature.kind == "interests" and isinstance(value, Mapping):
        for topic in sorted(feature.topics or value):
            number = _finite_number(value.get(topic))
            if number is not None:
                yield f"{feature.name}.{topic[:MAX_TEXT_LENGTH]}", min(max(number, -MAX_NUMBER), MAX_NUMBER)


def _finite_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    try:
        return float(value) + 0.0  # no negative zero, which storing as JSON would change
    except OverflowError:
        return None


def _category_text(value: Any, known: tuple[str, ...]) -> str:
    """Return the text of a value; of several values all of them, in order."""
    if isinstance(value, list | tuple | set | frozenset):
        members = sorted({_category_text(member, known) for member in value})
        return "|".join(members)[:MAX_TEXT_LENGTH]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)[:MAX_TEXT_LENGTH]
    return text if not known or text in known else OTHER_VALUE
