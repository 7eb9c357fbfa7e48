"""Small model files in the ONNX format, made here: nothing is trained, and nothing is downloaded."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def file_of(
    nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], weights: Sequence[Any] = ()
) -> bytes:
    """A file with this graph."""
    graph = helper.make_graph(list(nodes), "model", list(inputs), list(outputs), list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def tensor(name: str, shape: Sequence[int | None], kind: int = TensorProto.FLOAT) -> Any:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, list(shape))


def logistic_file(coefficients: Sequence[float], intercept: float = 0.0, *, log_odds: bool = False) -> bytes:
    """A logistic regression: one input ``X``, one output ``probability`` of one column."""
    columns = len(coefficients)
    weights = [
        numpy_helper.from_array(np.array(coefficients, dtype=np.float32).reshape(columns, 1), "w"),
        numpy_helper.from_array(np.array([intercept], dtype=np.float32), "b"),
    ]
    nodes = [
        helper.make_node("MatMul", ["X", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["probability" if log_odds else "s"]),
    ]
    if not log_odds:
        nodes.append(helper.make_node("Sigmoid", ["s"], ["probability"]))
    return file_of(nodes, [tensor("X", [None, columns])], [tensor("probability", [None, 1])], weights)


def two_column_file(columns: int = 2) -> bytes:
    """As converters of classifiers write it: a ``label``, and ``probabilities`` of two classes, here 3/4 and 1/4."""
    weights = [
        numpy_helper.from_array(np.zeros((columns, 2), dtype=np.float32), "w"),
        numpy_helper.from_array(np.array([0.75, 0.25], dtype=np.float32), "b"),
    ]
    nodes = [
        helper.make_node("MatMul", ["X", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["probabilities"]),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [tensor("label", [None], TensorProto.INT64), tensor("probabilities", [None, 2])]
    return file_of(nodes, [tensor("X", [None, columns])], outputs, weights)


def text_file() -> bytes:
    """Inputs by column, as pipelines have them: ``reason`` (texts) and ``age`` (numbers); 0.9 where it is ``buy``."""
    nodes = [
        helper.make_node("LabelEncoder", ["reason"], ["r"], domain="ai.onnx.ml", **LABELS),
        helper.make_node("Mul", ["age", "zero"], ["a"]),
        helper.make_node("Add", ["r", "a"], ["probability"]),
    ]
    weights = [numpy_helper.from_array(np.zeros(1, dtype=np.float32), "zero")]
    graph = helper.make_graph(
        nodes,
        "model",
        [tensor("reason", [None, 1], TensorProto.STRING), tensor("age", [None, 1])],
        [tensor("probability", [None, 1])],
        weights,
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=domains, ir_version=9).SerializeToString())


LABELS: dict[str, Any] = {"keys_strings": ["buy"], "values_floats": [0.9], "default_float": 0.1}


def one_node_file(operator: str, columns: int = 1, **attributes: Any) -> bytes:
    """A model of one operator, from ``X`` to ``probability``."""
    node = helper.make_node(operator, ["X"], ["probability"], **attributes)
    return file_of([node], [tensor("X", [None, columns])], [tensor("probability", [None, columns])])


def text_of(data: bytes) -> str:
    """A file as it stands in a specification."""
    return base64.b64encode(data).decode()
