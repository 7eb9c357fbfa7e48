"""Nothing but listed classes is brought to life from a stored model, and what is damaged or too big is refused."""

import json
import zlib
from typing import Any

import pytest

from bandits.errors import StateCodecError
from bandits.river import model_reader
from tests.support.bandits_river_models import RIVER, read


def _blob(*lines: Any, river: str = RIVER, codec: int = 1, root: Any = (0,)) -> bytes:
    header = {"codec": codec, "river": river, "root": list(root)}
    return zlib.compress("\n".join(json.dumps(line) for line in (header, *lines)).encode())


ATTACKS = {
    "a function of the system": _blob([0, "name", "os", "system"]),
    "the same under another module": _blob([0, "name", "posix", "system"]),
    "eval": _blob([0, "name", "builtins", "eval"]),
    "a subprocess": _blob([0, "object", "subprocess", "Popen", ["id"], ["attributes"], [], []]),
    "what river has imported": _blob([0, "name", "river.utils.math", "itertools"]),
    "what a class has inherited": _blob([0, "name", "river.stats.mean", "Mean.__init__.__globals__"]),
    "the builtins of a function": _blob([0, "name", "river.stats.mean", "Mean.update.__builtins__"]),
    "a module": _blob([0, "name", "river", "stats"]),
    "another package of like name": _blob([0, "name", "riverside", "x"]),
    "a function as a class": _blob(
        [0, "object", "river.utils.random", "poisson", [], ["attributes"], [], []]
    ),
    "a call by partial": _blob([0, "partial", [1], [2], []], [1, "name", "os", "system"], [2, "tuple", "id"]),
    "a method of a container": _blob([0, "method", [1], "append"], [1, "list"]),
    "a factory of a defaultdict": _blob([0, "defaultdict", [1]], [1, "name", "builtins", "exec"]),
    "an unknown kind": _blob([0, "reduce", "os.system", "id"]),
    "an array of objects": _blob([0, "array", "|O", [1], "C", "AAAAAAAAAAA="]),
    "an array of another size": _blob([0, "array", "<f8", [10**12], "C", "AAAAAAAAAAA="]),
    "an array of a shape that is none": _blob([0, "array", "<f8", [-5], "C", "AAAAAAAAAAA="]),
    "a reference to nothing": _blob([0, "list", [7]]),
    "one number twice": _blob([0, "list"], [0, "dict"]),
    "a tuple in itself": _blob([0, "tuple", [0]]),
    "tuples in tuples": _blob(*([n, "tuple", [n + 1]] for n in range(500)), [500, "tuple"]),
    "state for what has none": _blob([0, "object", "river.stats.mean", "Mean", [], ["state", 1], [], []]),
    "a damaged detector": _blob(
        [0, "object", "river._river_rust.stats", "RsQuantile", [0.5], ["state", [1]], [], []],
        [1, "bytes", "/////w=="],
    ),
    "values in values": _blob([0, "list", {"__reduce__": ["os.system", "id"]}]),
    "deep JSON": zlib.compress(
        json.dumps({"codec": 1, "river": RIVER, "root": [0]}).encode() + b"\n" + b"[" * 200_000
    ),
    "no JSON": zlib.compress(b"cos\nsystem\n(S'id'\ntR."),
    "a pickle": b"cos\nsystem\n(S'id'\ntR.",
    "no header": zlib.compress(b"[]"),
    "another codec": _blob([0, "list"], codec=2),
    "another river": _blob([0, "list"], river="0.99.0"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(attack: str) -> None:
    with pytest.raises(StateCodecError):
        read(ATTACKS[attack])


def test_no_init_is_run() -> None:
    made = read(_blob([0, "object", "river.stats.mean", "Mean", [], ["attributes", "n", 3], [], []]))
    assert vars(made) == {"n": 3}


def test_what_unfolds_too_far_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_reader, "MAX_UNPACKED_BYTES", 10_000)
    with pytest.raises(StateCodecError, match="unfolds to more than 10000"):
        read(zlib.compress(bytes(1_000_000)))
    monkeypatch.setattr(model_reader, "MAX_OBJECTS", 10)
    with pytest.raises(StateCodecError, match="more than 10 objects"):
        read(zlib.compress(b"\n" * 50))
    monkeypatch.setattr(model_reader, "MAX_STORED_BYTES", 100)
    with pytest.raises(StateCodecError, match="100 are read at most"):
        read(bytes(101))
