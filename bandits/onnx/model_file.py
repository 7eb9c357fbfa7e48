"""Model files in the ONNX format: read once and checked, then run for all candidates in one call.

The file travels inside the specification of its version, as base64, so every process and every replay runs the same
bytes. ``onnxruntime`` is imported when the first model is built: without it (the extra ``onnx``) such policies are
refused.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.errors import PolicyParameterError

MAX_MODEL_BYTES = 4 << 20
MAX_LOADED_MODELS = 64
"""So many files stay ready to run in a process, whatever policies use them."""
EXTRA_MISSING = (
    "models from ONNX files need the extra 'onnx', which is not installed here: pip install 'nextbest[onnx]'"
)
NUMBER_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}
TEXT_TYPE = "tensor(string)"
_REFUSED_OPERATORS = {
    "random numbers": (
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    ),
    "loops": ("Loop", "Scan"),
}
# Fields of the protocol buffer: the operator of a node (field 4 of NodeProto), and the key under which a tensor names a
# file beside the model (StringStringEntryProto). Both are short texts, which stand in the file as they are.
_OPERATORS = {
    b"\x22" + bytes([len(name)]) + name.encode(): (name, why)
    for why, names in _REFUSED_OPERATORS.items()
    for name in names
}
_OTHER_FILE = b"\x0a\x08location\x12"
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a model: its name, type (``tensor(float)``), and columns (``None``: not fixed)."""

    name: str
    type: str
    columns: int | None
    is_flat: bool = False


class OnnxModel:
    """A model that is ready to run. Pure: the same rows give the same values, whatever rows stand beside them.

    ``sha256``: of the file, in hexadecimal. ``inputs``, ``outputs``: what goes in and comes out, by name.
    """

    def __init__(self, data: bytes) -> None:
        self.sha256 = sha256(data).hexdigest()
        _refuse_what_is_no_function(data)
        self._session = _open_session(data)
        self.inputs = {port.name: _port_of(port) for port in self._session.get_inputs()}
        self.outputs = {port.name: _port_of(port) for port in self._session.get_outputs()}

    def __getstate__(self) -> dict[str, Any]:
        """Return what tells models apart: the session belongs to the library, and holds nothing that was learned."""
        return {"sha256": self.sha256}

    def run(self, output: str, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return one output for all rows: shape ``(n, columns)``.

        Raises ``PolicyParameterError`` with the library's reason if it cannot be computed.
        """
        try:
            (found,) = self._session.run([output], dict(tensors))
        except Exception as error:  # the library has classes of its own, and they are not exported
            raise PolicyParameterError(
                f"the model cannot be run: {_reason(error)}", "parameters.model"
            ) from error
        values = np.asarray(found, dtype=np.float64)
        return values.reshape(len(values), -1)


def encode_model(data: bytes) -> dict[str, str]:
    """Return a file as it stands in a specification: ``model`` (base64) and its ``sha256``."""
    return {"model": base64.b64encode(data).decode("ascii"), "sha256": sha256(data).hexdigest()}


def decode_model(text: Any, digest: Any = None, field: str = "parameters.model") -> bytes:
    """Read a file from a specification; ``digest``: the SHA-256 that it must have, if that was said.

    Raises ``PolicyParameterError``, also if it is larger than ``MAX_MODEL_BYTES``.
    """
    if not isinstance(text, str) or not _BASE64.fullmatch(text) or not text:
        rule = (
            "model is the ONNX file as base64 (in a file for the command line: model_file, a path beside it)"
        )
        raise PolicyParameterError(rule, field)
    if len(text) > (MAX_MODEL_BYTES + 2) // 3 * 4:
        raise PolicyParameterError(f"a model has at most {MAX_MODEL_BYTES} bytes", field)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise PolicyParameterError(f"model is not base64: {error}", field) from None
    found = sha256(data).hexdigest()
    if digest is not None and digest != found:
        raise PolicyParameterError(
            f"the model's SHA-256 is {found}, not {digest!r}", field.replace("model", "sha256")
        )
    return data


@lru_cache(MAX_LOADED_MODELS)
def load_model(data: bytes) -> OnnxModel:
    """Load a file, once in a process.

    Raises ``PolicyParameterError`` if ``onnxruntime`` is not installed, or refuses the file, or the file asks for
    what is no function of its inputs.
    """
    return OnnxModel(data)


def _refuse_what_is_no_function(data: bytes) -> None:
    for pattern, (name, why) in _OPERATORS.items():
        if pattern in data:
            raise PolicyParameterError(f"the model uses {name}: {why} are refused", "parameters.model")
    if _OTHER_FILE in data:
        raise PolicyParameterError(
            "the model keeps its weights in another file: save it as one file", "parameters.model"
        )


def _open_session(data: bytes) -> Any:
    try:
        runtime: Any = import_module("onnxruntime")
    except ImportError:
        raise PolicyParameterError(EXTRA_MISSING, "algorithm") from None
    options = runtime.SessionOptions()
    # One thread, and no rewriting for one processor: sums are added up in one order everywhere.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see above
        raise PolicyParameterError(
            f"this is no model that can be run: {_reason(error)}", "parameters.model"
        ) from None


def _reason(error: Exception) -> str:
    """Shorten what the library says to its first line."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _port_of(port: Any) -> Port:
    shape = list(port.shape)
    columns = shape[1] if len(shape) > 1 and isinstance(shape[1], int) else None
    return Port(port.name, port.type, columns, len(shape) == 1)
