"""A model file with its features: the propensities of all candidates in one call.

What a model says of an offer depends on the facts of the request, the offer's number and its precomputed propensity
alone, so it is the same where an outcome is learned from as where it was decided.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.onnx.model_file import OnnxModel, decode_model, load_model
from bandits.onnx.model_inputs import ModelInputs
from bandits.onnx.offer_features import OfferTable, parse_offer_features, parse_offers
from bandits.parameters import in_range, one_of, whole_in_range
from bandits.policy import Facts, FloatArray, IntArray
from bandits.regression.design import sigmoid

PARAMETERS: Mapping[str, Any] = {
    "model": None,
    "sha256": None,
    "inputs": None,
    "offer_features": [],
    "offers": {},
    "output": None,
    "column": None,
    "scale": "probability",
    "default_propensity": 0.05,
}
"""The parameters of a model file, with their defaults."""
SCALES = ("probability", "log_odds")
USUAL_OUTPUT = "probabilities"
ALIKE = 1e-5
"""By so much a row may differ when it is computed beside others, or again."""
_FLOATS = ("tensor(float)", "tensor(double)")
_MAX_COLUMN = 10_000


class PropensityModel:
    """A model file that says how likely each candidate is to be accepted.

    ``encoder``: which facts it reads.

    Raises
    ------
    PolicyParameterError
        If ``onnxruntime`` is missing, the file cannot be run, or its inputs and outputs are not what is declared.
    """

    def __init__(self, parameters: Mapping[str, Any], features: tuple[Feature, ...]) -> None:
        given = {**PARAMETERS, **parameters}
        if given["model"] is None:
            raise PolicyParameterError("model is missing: say the ONNX file, as base64", "parameters.model")
        self._model = load_model(decode_model(given["model"], given["sha256"]))
        offer_features = parse_offer_features(given["offer_features"])
        offers = OfferTable(offer_features, parse_offers(given["offers"]))
        self.inputs = ModelInputs(self._model, features, offer_features, offers, given["inputs"])
        self.encoder = self.inputs.encoder
        self.default = in_range("default_propensity", given["default_propensity"], 1e-4, 0.9999)
        self._has_log_odds = one_of("scale", given["scale"], SCALES) == "log_odds"
        self._output = _find_output(self._model, given["output"])
        self._column = self._try_out(given["column"])

    def propensities(self, facts: Facts, numbers: IntArray, base_propensity: NDArray[Any]) -> FloatArray:
        """Return the propensity of each offer: shape ``(n,)``, in [0, 1].

        An offer that the version does not know, and one for which the model gives no number, has its precomputed
        propensity, or the default.
        """
        values = self._model.run(self._output, self.inputs.tensors(facts, numbers, base_propensity))[
            :, self._column
        ]
        chances: FloatArray = sigmoid(values) if self._has_log_odds else np.clip(values, 0.0, 1.0)
        offers = self.inputs.offers
        lacking = np.isnan(values) | offers.unknown(offers.rows(numbers))
        if lacking.any():
            known = base_propensity.astype(np.float64)
            chances = np.where(lacking, np.where(np.isnan(known), self.default, known), chances)
        return chances

    def propensity(self, facts: Facts, number: int, base_propensity: float) -> float:
        """Return the propensity of one offer, with the precision of float32, as candidates have them."""
        numbers = np.array([number], dtype=np.uint32)
        found = self.propensities(facts, numbers, np.array([base_propensity], dtype=np.float32))
        return float(found.astype(np.float32)[0])

    def _try_out(self, column: Any) -> int:
        """Run the model on a few rows, as features expect them; return the column of the propensity."""
        facts = self.inputs.typical_facts()
        # Of different offers, so that one which depends on others is found out.
        base_propensities = np.array([0.1, 0.7, 0.3, 0.2], dtype=np.float32)
        numbers = np.arange(1, 5, dtype=np.uint32)
        several = self._model.run(self._output, self.inputs.tensors(facts, numbers, base_propensities))
        found = _find_column(column, several.shape[1])
        if len(several) != len(numbers):
            raise PolicyParameterError(
                f"the output {self._output!r} has {len(several)} rows for {len(numbers)} candidates: a model gives one"
                " row for each",
                "parameters.output",
            )
        for row in range(len(numbers)):
            only = slice(row, row + 1)
            alone = self._model.run(
                self._output, self.inputs.tensors(facts, numbers[only], base_propensities[only])
            )
            if not np.allclose(alone[0], several[row], atol=ALIKE, equal_nan=True):
                raise PolicyParameterError(
                    "what the model says of one row depends on the other rows", "parameters.model"
                )
        values = several[:, found]
        outside = (values < -ALIKE) | (values > 1.0 + ALIKE)
        if not self._has_log_odds and outside.any():
            value = values[outside][0]
            raise PolicyParameterError(
                f"the output {self._output!r} is {value:g}, and a propensity is from 0 to 1; if it is on the scale of"
                " log odds, say scale: log_odds",
                "parameters.scale",
            )
        return found


def _find_output(model: OnnxModel, name: Any) -> str:
    field = "parameters.output"
    if name is None:
        floats = [port.name for port in model.outputs.values() if port.type in _FLOATS]
        name = USUAL_OUTPUT if USUAL_OUTPUT in model.outputs else floats[0] if len(floats) == 1 else None
    have = "the model has " + ", ".join(f"{port.name} ({port.type})" for port in model.outputs.values())
    if any(not port.type.startswith("tensor(") for port in model.outputs.values()):
        have += "; converters of scikit-learn and LightGBM write a tensor where zipmap is off"
    if not isinstance(name, str) or name not in model.outputs:
        raise PolicyParameterError(f"say which output is the propensity, a tensor of numbers; {have}", field)
    if model.outputs[name].type not in _FLOATS:
        raise PolicyParameterError(
            f"the output {name!r} is a {model.outputs[name].type}, not a tensor of float or double; {have}",
            field,
        )
    return name


def _find_column(column: Any, columns: int) -> int:
    if column is None:
        if columns > 2:
            message = f"the output has {columns} columns: say which is the propensity, from 0"
            raise PolicyParameterError(message, "parameters.column")
        return columns - 1
    found = whole_in_range("column", column, 0, _MAX_COLUMN)
    if found >= columns:
        raise PolicyParameterError(f"the output has {columns} columns, from 0", "parameters.column")
    return found
