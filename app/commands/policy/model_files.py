"""Model files beside specifications: ``model_file`` in a YAML file names one, and is replaced by its bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandits.onnx.model_file import MAX_MODEL_BYTES, encode_model
from decisioning.errors import Invalid


def with_model_file(values: Any, folder: Path) -> Any:
    """Read the file that ``parameters.model_file`` names, relative to ``folder``. Raises ``Invalid``."""
    parameters = values.get("parameters") if isinstance(values, Mapping) else None
    if not isinstance(parameters, Mapping) or "model_file" not in parameters:
        return values
    field = "parameters.model_file"
    name = parameters["model_file"]
    if not isinstance(name, str) or "model" in parameters:
        raise Invalid(field, "is the path of an ONNX file, in the place of model")
    path = folder / name
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_MODEL_BYTES else b""
    except OSError as error:
        raise Invalid(field, f"{path}: {error.strerror}") from None
    if size > MAX_MODEL_BYTES:
        raise Invalid(field, f"{path} has {size} bytes: a model has at most {MAX_MODEL_BYTES}")
    others = {key: value for key, value in parameters.items() if key != "model_file"}
    return {**values, "parameters": {**others, **encode_model(data)}}
