"""The stored form of a river pipeline: a flat table of objects as compressed JSON lines. Never pickle.

The first line is a header: version of the codec and of river, and the root. Each further line is one object,
``[number, kind, ...]``; numbers, strings, booleans and ``null`` stand for themselves, and ``[number]`` for another
object, so that what was shared stays shared, cycles are kept, and nothing in it is ever deeply nested. Objects are
listed after those that they hold (except in a cycle). Floats are written so that they come back bit for bit.

Reading runs no code that the stored bytes choose: classes are found on a list (``allowed_names``) and made without
their ``__init__``; a function is only ever a value. Packing is canonical: ``pack(unpack(blob)) == blob``.

A generator of random numbers in an object whose ``seed`` is ``None`` is not state: it is stored as a mark, and read
back as a fixed one, so that two models that learned the same are stored the same.
"""

import base64
import copyreg
import json
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Generator, Iterable
from enum import Enum
from functools import partial
from types import MethodType
from typing import Any, Literal

import numpy as np

from bandits.errors import StateCodecError
from bandits.river.allowed_names import AllowedNames

CODEC_VERSION = 1
MAX_STORED_BYTES = 32 * 2**20
MAX_UNPACKED_BYTES = 128 * 2**20
MAX_OBJECTS = 500_000

SCALARS = (type(None), bool, int, float, str)
_Visit = Generator[Any, Any, Any]
"""Yields what it holds, is sent how that is written, and returns how it is written itself."""


def pack_model(model: Any, names: AllowedNames, river: str) -> bytes:
    """Encode a model of ``river`` (its version) in its stored form.

    Raises ``StateCodecError`` if something in it has no stored form (the message names its type), or it is too big.
    """
    writer = _ModelWriter(names)
    root = writer.write(model)
    header = json.dumps({"codec": CODEC_VERSION, "river": river, "root": root})
    blob = zlib.compress("\n".join([header, *writer.lines]).encode(), 1)
    if len(blob) > MAX_STORED_BYTES:
        raise StateCodecError(f"the model takes {len(blob)} bytes, and {MAX_STORED_BYTES} are stored at most")
    return blob


class _ModelWriter:
    def __init__(self, names: AllowedNames) -> None:
        self._names = names
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no id is used twice
        self.lines: list[str] = []

    def write(self, root: Any) -> Any:
        """Write an object after all that it holds, depth first and without recursion; returns its reference."""
        stack: list[_Visit] = [self._value(root)]
        answer: Any = None
        while stack:
            try:
                held = stack[-1].send(answer)
            except StopIteration as done:
                stack.pop()
                answer = done.value
            else:
                answer = None
                if type(held) in SCALARS:
                    answer = held
                elif (number := self._numbers.get(id(held))) is not None:
                    answer = [number]
                else:
                    stack.append(self._value(held))
        return answer

    def _value(self, value: Any) -> _Visit:
        if type(value) in SCALARS:
            return value
        number = self._numbers[id(value)] = len(self._kept)
        self._kept.append(value)
        if number >= MAX_OBJECTS:
            raise StateCodecError(f"the model has more than {MAX_OBJECTS} objects")
        line = yield from self._line(value)
        self.lines.append(json.dumps([number, *line], separators=(",", ":")))
        return [number]

    def _line(self, value: Any) -> _Visit:
        kind = type(value)
        if kind is list or kind is tuple:
            return [kind.__name__, *(yield from _write_all(value))]
        if kind is dict or kind is OrderedDict or kind is Counter:
            return [kind.__name__, *(yield from _write_pairs(value))]
        if kind is set or kind is frozenset:
            members = yield from _write_all(_orderable_members(value))
            return [kind.__name__, *sorted(members, key=json.dumps)]
        if kind is deque:
            return ["deque", value.maxlen, *(yield from _write_all(value))]
        if kind is defaultdict:
            return ["defaultdict", (yield value.default_factory), *(yield from _write_pairs(value))]
        if kind is bytes:
            return ["bytes", _to_base64(value)]
        if isinstance(value, np.generic | np.ndarray):
            return _write_array(value)
        if kind is partial:
            called = (yield value.func), (yield value.args), (yield from _write_pairs(value.keywords))
            return ["partial", *called]
        if kind is MethodType:
            self._names.name(value.__func__)
            return ["method", (yield value.__self__), value.__func__.__name__]
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
            return ["name", *self._names.name(value)]
        if isinstance(value, Enum):
            return ["enum", *self._names.name(kind), value.name]
        return (yield from self._object(value))

    def _object(self, value: Any) -> _Visit:
        name = self._names.name(type(value))
        if name == ("random", "Random"):
            version, state, following = value.getstate()
            return ["random", version, _to_base64(np.array(state, dtype="<u4").tobytes()), following]
        if name == ("numpy.random.mtrand", "RandomState"):
            state = value.get_state(legacy=False)
            inner = [_to_base64(state["state"]["key"].astype("<u4").tobytes()), state["state"]["pos"]]
            return ["random_state", *inner, state["has_gauss"], state["gauss"]]
        maker, arguments, *rest = value.__reduce_ex__(4)
        if name[1] == "VectorDict":
            entries, factory, mask, *_ = arguments
            return ["vector", *name, (yield factory), (yield mask), *(yield from _write_pairs(entries))]
        if maker is not copyreg.__newobj__ or arguments[0] is not type(value):  # type: ignore[attr-defined]
            raise StateCodecError(f"{'.'.join(name)} has no stored form")
        state, items, entries = (*rest, None, None, None)[:3]
        return [
            "object",
            *name,
            (yield from _write_all(arguments[1:])),
            (yield from _write_state(state)),
            (yield from _write_all(items or ())),
            (yield from _write_pairs(dict(entries or ()))),
        ]


def _write_all(values: Iterable[Any]) -> _Visit:
    written = []
    for value in values:
        written.append(value if type(value) in SCALARS else (yield value))
    return written


def _orderable_members(values: Iterable[Any]) -> Iterable[Any]:
    """Yield the members of a set. Raises ``StateCodecError`` for those that cannot be ordered."""
    for value in values:
        if not isinstance(value, (*SCALARS, tuple, np.generic)):
            raise StateCodecError(f"a set of {type(value).__qualname__} objects has no order to be stored in")
        yield value


def _write_pairs(mapping: Any) -> _Visit:
    written = []
    for key, value in mapping.items():
        written.append(key if type(key) in SCALARS else (yield key))
        written.append(value if type(value) in SCALARS else (yield value))
    return written


def _write_state(state: Any) -> _Visit:
    """Write attributes, in their order; those in slots as well; or any other state that a class has."""
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        state = (state[0] or {}) | state[1]
    if type(state) is dict:
        return ["attributes", *(yield from _write_attributes(state))]
    return ["state", (yield state)]


def _write_attributes(state: dict[str, Any]) -> _Visit:
    seedless = "seed" in state and state["seed"] is None
    written: list[Any] = []
    for key, value in state.items():
        if seedless and type(value).__name__ in ("Random", "RandomState"):
            written += [key, ["unseeded", type(value).__name__]]
        else:
            written += [key, value if type(value) in SCALARS else (yield value)]
    return written


def _write_array(value: Any) -> list[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "biufcSU":
        raise StateCodecError(f"an array of {array.dtype} has no stored form")
    little = array.astype(array.dtype.newbyteorder("<"))
    kind = "array" if isinstance(value, np.ndarray) else "scalar"
    # The order in memory is kept, since sums may depend on it.
    order: Literal["F", "C"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return [kind, little.dtype.str, list(array.shape), order, _to_base64(little.tobytes(order))]


def _to_base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
