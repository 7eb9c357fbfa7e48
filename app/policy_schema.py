"""The JSON Schema of a policy's specification as a file, for editors to complete and check it."""

from functools import cache
from typing import Any, get_args

from app.api.policies.schemas import PolicyBody
from app.catalog_schema import DIALECT
from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.features import OPTIONS, Kind
from bandits.onnx.onnx_policy import ALL_PARAMETERS as ONNX_PARAMETERS
from bandits.registry import ALGORITHMS
from bandits.river.pipeline_policy import PARAMETERS as RIVER_PARAMETERS
from bandits.specification import AUTO, MAX_ITEMS

_TEXTS = {"type": "array", "items": {"type": ["string", "number", "boolean"]}}
_OPTIONS: dict[str, Any] = {
    "path": {"type": "string"},
    "low": {"type": "number"},
    "high": {"type": "number"},
    "default": {"type": "number"},
    "values": _TEXTS,
    "topics": _TEXTS,
    "of": _TEXTS,
    "buckets": {"type": "integer", "minimum": 1},
    "harmonics": {"enum": [1, 2]},
    "time_zone": {"type": "string"},
}


@cache
def specification_schema() -> dict[str, Any]:
    """Return the schema: the body of the API, with features by kind and names of parameters by algorithm.

    Algorithms of other packages may have any parameters.
    """
    found: dict[str, Any] = PolicyBody.model_json_schema(ref_template="#/$defs/{model}")
    features = found["properties"]["features"]
    features.pop("anyOf", None)
    items = {"type": "array", "maxItems": MAX_ITEMS, "items": {"oneOf": [*map(_feature, get_args(Kind))]}}
    features["anyOf"] = [{"const": AUTO}, items]
    found["properties"]["algorithm"] |= {"examples": [*ALGORITHMS]}
    found["allOf"] = [
        {
            "if": {"properties": {"algorithm": {"const": name}}, "required": ["algorithm"]},
            "then": {"properties": {"parameters": {"propertyNames": {"enum": parameter_names(name)}}}},
        }
        for name in ALGORITHMS
    ]
    return {"$schema": DIALECT, **found, "title": "nextbest policy"}


def parameter_names(algorithm: str) -> list[str]:
    """Return the names of the parameters that an algorithm of nextbest has in files."""
    if algorithm == "onnx":
        return [*ONNX_PARAMETERS, "model_file"]
    if algorithm == "river":
        return [*RIVER_PARAMETERS]
    if algorithm == "apprentice":
        return [*CalibratedPolicy.common_parameters, *CalibratedPolicy.own_parameters, "caution"]
    made = ALGORITHMS[algorithm]
    return [*getattr(made, "common_parameters", ()), *getattr(made, "own_parameters", ())]


def _feature(kind: Kind) -> dict[str, Any]:
    options = {name: _OPTIONS[name] for name in OPTIONS[kind]}
    return {
        "type": "object",
        "title": kind,
        "properties": {"name": {"type": "string"}, "kind": {"const": kind}, **options},
        "required": ["name", "kind"],
        "additionalProperties": False,
    }
