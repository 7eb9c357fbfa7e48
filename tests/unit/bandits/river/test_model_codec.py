"""River models are stored and read back bit for bit, and nothing else is ever brought to life."""

import json
import os
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from river import stats
from river.utils import VectorDict

from bandits.errors import StateCodecError
from tests.support.bandits_river_models import CLASSIFIERS, REGRESSORS, read, stored, stream

MODELS = {**CLASSIFIERS, **REGRESSORS}


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_model_goes_on_as_the_one_in_memory(name: str) -> None:
    memory = MODELS[name]()
    target = float if name in REGRESSORS else bool
    for x, y in stream(400):
        memory.learn_one(x, target(y))
    blob = stored(memory)
    again = read(blob)
    assert stored(again) == blob
    for x, y in stream(300, seed=2):
        assert memory.predict_one(x) == again.predict_one(x)
        memory.learn_one(x, target(y))
        again.learn_one(x, target(y))
    assert stored(memory) == stored(again)
    assert stored(memory) != blob


def test_plain_things_come_back_as_they_were() -> None:
    shared = [1, 2.5]
    cycle: dict[str, Any] = {"list": shared, "again": shared}
    cycle["self"] = cycle
    thing = {
        "floats": [0.1, -0.0, float("inf"), float("-inf"), 5e-324, 1.7976931348623157e308],
        "whole": [2**70, -1, True, None],
        "text": "é\n\ud800",
        "bytes": b"\x00\xff",
        "tuple": ((1, (2,)), frozenset({3, "x"})),
        "collections": [Counter("abca"), OrderedDict(b=1, a=2), deque([1, 2], maxlen=2), {1, "a"}],
        "default": defaultdict(float, {("a", 1): 2.0}),
        "vector": VectorDict({"b": 1.0, "a": 2.0}, float),
        "numpy": [np.float64(0.1), np.arange(6.0).reshape(2, 3).T, np.array(["é"]), np.bool_(True)],
        "cycle": cycle,
        "partial": partial(stats.Mean),
        "types": [float, stats.Mean],
    }
    again = read(stored(thing))
    assert repr(again["floats"]) == repr(thing["floats"])
    assert again["cycle"]["list"] is again["cycle"]["again"]
    assert again["cycle"]["self"] is again["cycle"]
    assert again["collections"] == thing["collections"]
    assert [type(each) for each in again["collections"]] == [Counter, OrderedDict, deque, set]
    assert list(again["collections"][1]) == ["b", "a"]
    assert again["collections"][2].maxlen == 2
    assert again["default"]["missing"] == 0.0
    assert list(again["vector"].items()) == [("b", 1.0), ("a", 2.0)]
    assert again["vector"]["missing"] == 0.0
    assert [type(each) for each in again["numpy"]] == [np.float64, np.ndarray, np.ndarray, np.bool_]
    assert again["numpy"][1].flags.f_contiguous
    assert again["partial"]().n == 0
    assert all(again[key] == thing[key] for key in ("whole", "text", "bytes", "tuple", "types"))


def test_generators_go_on_if_they_were_seeded() -> None:
    rng, legacy = Random(5), np.random.RandomState(5)
    rng.gauss(0, 1)
    legacy.normal()
    again, legacy_again = read(stored([rng, legacy]))
    assert [rng.gauss(0, 1) for _ in range(3)] == [again.gauss(0, 1) for _ in range(3)]
    assert legacy.normal(size=3).tolist() == legacy_again.normal(size=3).tolist()


def test_equal_models_are_stored_the_same_in_every_process() -> None:
    program = (
        "import hashlib; from tests.support.bandits_river_models import CLASSIFIERS, stored, stream\n"
        "for name in ('logistic', 'hoeffding', 'one_hot_lasso'):\n"
        "    model = CLASSIFIERS[name]()\n"
        "    for x, y in stream(200): model.learn_one(x, y)\n"
        "    print(name, hashlib.sha256(stored(model)).hexdigest())"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            timeout=120,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    assert found[0].count(b"\n") == 3


@pytest.mark.parametrize(
    ("thing", "named"),
    [
        (lambda: 1, "lambda"),
        (os.system, "posix.system"),
        (eval, "builtins.eval"),
        (open(os.devnull).close, "TextIOWrapper"),  # noqa: SIM115
        (json, "module"),
        (object(), "builtins.object"),
        (np.array([object()]), "object"),
        ({stats.Mean()}, "Mean"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_stored_form_is_refused_by_name(thing: Any, named: str) -> None:
    with pytest.raises(StateCodecError, match=named):
        stored({"held": [thing]})


def test_lists_may_be_nested_deeply() -> None:
    nested: list[Any] = []
    for _ in range(20_000):
        nested = [nested]
    again, depth = read(stored(nested)), 0
    while again:
        again, depth = again[0], depth + 1
    assert depth == 20_000
