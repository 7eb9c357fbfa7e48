"""Model files: decoded, checked, and refused where they are no function of their inputs."""

import base64
import hashlib
import sys

import pytest
from onnx import TensorProto, helper

from bandits.errors import PolicyParameterError
from bandits.onnx.model_file import MAX_MODEL_BYTES, decode_model, encode_model, load_model
from tests.support.onnx_models import file_of, logistic_file, one_node_file, tensor

FILE = logistic_file([1.0, 2.0])


def test_a_file_comes_back_from_a_specification_byte_for_byte() -> None:
    said = encode_model(FILE)
    assert said["sha256"] == hashlib.sha256(FILE).hexdigest()
    assert decode_model(said["model"], said["sha256"]) == FILE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "as base64"),
        ("", "as base64"),
        ("not base64!", "as base64"),
        ("abc", "is not base64"),
        ("A" * (MAX_MODEL_BYTES * 2), "at most 4194304 bytes"),
    ],
)
def test_what_is_no_file_is_refused(text: object, said: str) -> None:
    with pytest.raises(PolicyParameterError, match=said) as refused:
        decode_model(text)
    assert refused.value.field == "parameters.model"


def test_another_file_than_was_said_is_refused() -> None:
    text = base64.b64encode(FILE).decode()
    with pytest.raises(PolicyParameterError, match="SHA-256 is") as refused:
        decode_model(text, "0" * 64)
    assert refused.value.field == "parameters.sha256"


def test_inputs_and_outputs_are_known_by_name() -> None:
    model = load_model(FILE)
    assert [(p.name, p.type, p.columns) for p in model.inputs.values()] == [("X", "tensor(float)", 2)]
    assert list(model.outputs) == ["probability"]
    assert load_model(bytes(FILE)) is model  # once in a process


@pytest.mark.parametrize("operator", ["RandomUniformLike", "RandomNormalLike", "Bernoulli"])
def test_models_that_throw_dice_are_refused(operator: str) -> None:
    with pytest.raises(PolicyParameterError, match=f"uses {operator}: random numbers are refused"):
        load_model(one_node_file(operator))


def test_loops_which_may_not_end_are_refused() -> None:
    body = helper.make_graph([], "body", [], [])
    node = helper.make_node("Loop", ["X"], ["probability"], body=body)
    with pytest.raises(PolicyParameterError, match="uses Loop"):
        load_model(file_of([node], [tensor("X", [None, 1])], [tensor("probability", [None, 1])]))


def test_weights_in_other_files_are_refused() -> None:
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 1])
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("MatMul", ["X", "w"], ["probability"])
    data = file_of([node], [tensor("X", [None, 1])], [tensor("probability", [None, 1])], [outside])
    with pytest.raises(PolicyParameterError, match="in another file"):
        load_model(data)


def test_without_the_library_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    load_model.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PolicyParameterError, match=r"pip install 'nextbest\[onnx\]'"):
        load_model(FILE)
