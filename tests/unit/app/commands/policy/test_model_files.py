"""Model files beside specifications on the command line."""

from pathlib import Path

import pytest

from app.commands.policy.model_files import with_model_file
from bandits.onnx.model_file import MAX_MODEL_BYTES, decode_model
from decisioning.errors import Invalid


def test_a_file_is_read_beside_the_specification(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"bytes")
    found = with_model_file({"parameters": {"model_file": "model.onnx", "epsilon": 0.1}}, tmp_path)
    parameters = found["parameters"]
    assert (parameters.keys(), parameters["epsilon"]) == ({"model", "sha256", "epsilon"}, 0.1)
    assert decode_model(parameters["model"], parameters["sha256"]) == b"bytes"


@pytest.mark.parametrize("values", [[], {}, {"parameters": []}, {"parameters": {"model": "x"}}])
def test_what_names_no_file_stays_as_it_is(values: object) -> None:
    assert with_model_file(values, Path()) is values


def test_mistakes_name_the_field(tmp_path: Path) -> None:
    (tmp_path / "large.onnx").write_bytes(bytes(MAX_MODEL_BYTES + 1))
    for parameters, said in (
        ({"model_file": "none.onnx"}, "No such file"),
        ({"model_file": "large.onnx"}, "at most 4194304"),
        ({"model_file": 1}, "is the path"),
        ({"model_file": "large.onnx", "model": "x"}, "in the place of model"),
    ):
        with pytest.raises(Invalid, match=said) as refused:
            with_model_file({"parameters": parameters}, tmp_path)
        assert refused.value.field == "parameters.model_file"
