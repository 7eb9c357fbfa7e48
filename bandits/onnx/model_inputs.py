"""The inputs of a model: features of the request, attributes of offers and the propensity, in the order that it wants.

Values are passed on as they are, not scaled as the models of nextbest want them: a model knows the units that it was
trained in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError, did_you_mean
from bandits.feature_columns import category_text, category_texts, finite_number
from bandits.features import Encoder, Feature
from bandits.onnx.model_file import NUMBER_TYPES, TEXT_TYPE, OnnxModel, Port
from bandits.onnx.offer_features import OfferFeature, OfferTable
from bandits.policy import Facts, FloatArray, IntArray

KINDS = ("numeric", "category", "interests", "propensity")
MAX_COLUMNS = 1024
MAX_NUMBER = 1e15
NAN = float("nan")
WHOLE_TYPES = ("tensor(int64)", "tensor(int32)")

Tensors = dict[str, NDArray[Any]]
Reader = Callable[[Any], Sequence[Any] | FloatArray]


class FactsEncoder(Encoder):
    """Says which facts are read, and checks the features, but makes no columns: the model is given the facts."""

    def __init__(self, features: tuple[Feature, ...]) -> None:
        super().__init__(())
        for i, feature in enumerate(features):
            if feature.kind not in KINDS:
                raise PolicyParameterError(
                    f"a model is given features of the kinds {', '.join(KINDS)}, not {feature.kind}",
                    f"features[{i}].kind",
                )
            try:
                Encoder((feature,))
            except PolicyParameterError as error:
                inner = (error.field or "").partition(".")[2]
                raise PolicyParameterError(
                    str(error), f"features[{i}].{inner}" if inner else "features"
                ) from None
        self.features = features
        self.paths = frozenset(feature.path for feature in features if feature.path is not None)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of one feature in one input. ``read``: makes them of a fact, or of the attributes of an offer."""

    name: str
    width: int
    path: str | None = None
    offer: OfferFeature | None = None
    read: Reader | None = None


@dataclass(frozen=True, slots=True)
class _Input:
    port: Port
    columns: tuple[_Columns, ...]

    @property
    def width(self) -> int:
        return sum(each.width for each in self.columns)


class ModelInputs:
    """Makes the tensors of a model, one row for each candidate.

    ``paths``: all facts that are read. ``offers``: the attributes of offers, by number, as they were when the version
    was registered.

    Raises
    ------
    PolicyParameterError
        If the features are not what the model takes: another number of columns, another type, an input without any.
    """

    def __init__(
        self,
        model: OnnxModel,
        features: tuple[Feature, ...],
        offer_features: tuple[OfferFeature, ...],
        offers: OfferTable,
        inputs: Any,
    ) -> None:
        self.encoder = FactsEncoder(features)
        self.offers = offers
        self._features: dict[str, Feature | OfferFeature] = {}
        declared: list[Feature | OfferFeature] = [*features, *offer_features]
        for each in declared:
            if each.name in self._features:
                raise PolicyParameterError(f"two features are called {each.name!r}", "features")
            self._features[each.name] = each
        wanted = self._assign(model, inputs)
        self._inputs = tuple(
            _Input(model.inputs[name], tuple(self._columns(feature, model.inputs[name]) for feature in names))
            for name, names in wanted.items()
        )
        for given in self._inputs:
            _check_width(given)

    def tensors(self, facts: Facts, numbers: IntArray, base_propensity: NDArray[Any]) -> Tensors:
        """Make all inputs: of the facts of a request, the offers' numbers, and their precomputed propensities."""
        rows = self.offers.rows(numbers)
        return {each.port.name: self._tensor(each, facts, rows, base_propensity) for each in self._inputs}

    def typical_facts(self) -> dict[str, Any]:
        """Make up facts such as the features expect them, to try a model out."""
        found: dict[str, Any] = {}
        for feature in self.encoder.features:
            if feature.path is None:
                continue
            if feature.kind == "numeric":
                middle = (
                    0.0 if feature.low is None or feature.high is None else (feature.low + feature.high) / 2
                )
                found[feature.path] = middle if feature.default is None else feature.default
            elif feature.kind == "category":
                found[feature.path] = feature.values[0] if feature.values else "a"
            else:
                found[feature.path] = dict.fromkeys(feature.topics, 1.0)
        return found

    def _tensor(
        self, given: _Input, facts: Facts, rows: NDArray[np.intp], base_propensity: NDArray[Any]
    ) -> NDArray[Any]:
        is_text = given.port.type == TEXT_TYPE
        made = np.empty((len(rows), given.width), dtype=object if is_text else np.float64)
        start = 0
        for each in given.columns:
            end = start + each.width
            if each.offer is not None:
                made[:, start:end] = self.offers.columns(each.name)[rows]
            elif each.read is None:
                made[:, start] = base_propensity
            else:
                made[:, start:end] = each.read(facts.get(each.path or ""))
            start = end
        tensor = made if is_text else made.astype(NUMBER_TYPES[given.port.type])
        return tensor.reshape(-1) if given.port.is_flat else tensor

    def _assign(self, model: OnnxModel, inputs: Any) -> dict[str, list[str]]:
        """Return the names of the features of each input of the model, in order."""
        if inputs is None:
            if len(model.inputs) == 1:
                return {next(iter(model.inputs)): list(self._features)}
            # A pipeline that takes each column by its name.
            inputs = {name: [name] for name in model.inputs}
        if not isinstance(inputs, Mapping) or not all(isinstance(names, list) for names in inputs.values()):
            rule = "inputs maps each input of the model to the names of features, in order"
            raise PolicyParameterError(rule, "parameters.inputs")
        for name, names in inputs.items():
            field = f"parameters.inputs.{name}"
            if name not in model.inputs:
                have = ", ".join(model.inputs)
                hint = did_you_mean(name, model.inputs)
                raise PolicyParameterError(f"the model has no input {name!r}; it has {have}{hint}", field)
            for feature in names:
                if feature not in self._features:
                    hint = did_you_mean(feature, self._features)
                    raise PolicyParameterError(
                        f"the input {name!r} of the model needs a feature {feature!r}, which is not declared{hint}",
                        field,
                    )
        for name in model.inputs:
            if name not in inputs:
                raise PolicyParameterError(
                    f"the model has an input {name!r}: say which features it takes", "parameters.inputs"
                )
        used = {feature for names in inputs.values() for feature in names}
        for feature in self._features:
            if feature not in used:
                raise PolicyParameterError(
                    f"the feature {feature!r} goes into no input of the model", "parameters.inputs"
                )
        return {name: list(inputs[name]) for name in model.inputs}

    def _columns(self, name: str, port: Port) -> _Columns:
        if port.type != TEXT_TYPE and port.type not in NUMBER_TYPES:
            raise PolicyParameterError(
                f"the model's input {port.name!r} is a {port.type}: numbers and texts can be given",
                "parameters.model",
            )
        feature = self._features[name]
        if port.type in WHOLE_TYPES and feature.default is None and _is_number(feature):
            message = f"the model's input {port.name!r} takes whole numbers: {name!r} needs a default"
            raise PolicyParameterError(message, "features")
        if isinstance(feature, OfferFeature):
            if (port.type == TEXT_TYPE) != feature.text:
                kind = "texts" if port.type == TEXT_TYPE else "numbers"
                raise PolicyParameterError(
                    f"the model's input {port.name!r} takes {kind}, and the offer feature {name!r} is none:"
                    " text: true passes an attribute on as text, values or default make numbers of it",
                    "parameters.offer_features",
                )
            return _Columns(name, feature.width, offer=feature)
        if port.type == TEXT_TYPE:
            if feature.kind != "category":
                raise PolicyParameterError(
                    f"the model's input {port.name!r} takes texts, and {name!r} is {feature.kind}", "features"
                )
            return _Columns(name, 1, feature.path, read=_text_reader(feature))
        if feature.kind == "propensity":
            return _Columns(name, 1)
        if feature.buckets is not None:
            raise PolicyParameterError(
                f"{name!r}: hashing into buckets is for the models of nextbest; list the values instead",
                "features",
            )
        if feature.kind == "numeric":
            return _Columns(name, 1, feature.path, read=_number_reader(feature))
        known = feature.values if feature.kind == "category" else feature.topics
        read = _one_hot_reader(feature) if feature.kind == "category" else _strength_reader(feature)
        return _Columns(name, len(known), feature.path, read=read)


def _is_number(feature: Feature | OfferFeature) -> bool:
    """Return whether a feature is one number, which may be missing."""
    if isinstance(feature, OfferFeature):
        return not feature.text and not feature.values
    return feature.kind in ("numeric", "propensity")


def _check_width(given: _Input) -> None:
    columns = 1 if given.port.is_flat else given.port.columns
    names = ", ".join(
        f"{each.name} ({each.width})" if each.width > 1 else each.name for each in given.columns
    )
    if given.width > MAX_COLUMNS:
        raise PolicyParameterError(
            f"{given.width} columns are too many: {MAX_COLUMNS} are the most", "features"
        )
    if not given.width or (columns is not None and columns != given.width):
        raise PolicyParameterError(
            f"the model's input {given.port.name!r} has {columns or 'some'} columns, and its features make"
            f" {given.width}: {names or 'none is declared'}",
            "parameters.inputs",
        )


def _number_reader(feature: Feature) -> Reader:
    low = -MAX_NUMBER if feature.low is None else feature.low
    high = MAX_NUMBER if feature.high is None else feature.high
    missing = NAN if feature.default is None else feature.default

    def read(value: Any) -> tuple[float]:
        number = finite_number(value)
        return (missing if number is None else min(max(number, low), high),)

    return read


def _one_hot_reader(feature: Feature) -> Reader:
    def read(value: Any) -> FloatArray:
        found = category_texts(value) or ()
        return np.array([float(known in found) for known in feature.values])

    return read


def _strength_reader(feature: Feature) -> Reader:
    def read(value: Any) -> FloatArray:
        strengths = value if isinstance(value, Mapping) else {}
        return np.array([finite_number(strengths.get(topic)) or 0.0 for topic in feature.topics])

    return read


def _text_reader(feature: Feature) -> Reader:
    def read(value: Any) -> tuple[str]:
        text = category_text(value) or ""
        return (text if not feature.values or text in feature.values else "",)

    return read
