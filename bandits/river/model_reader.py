"""Reads what ``model_codec`` wrote: only listed classes are instantiated, and no ``__init__`` is run."""

import base64
import json
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Literal

import numpy as np

from bandits.errors import StateCodecError
from bandits.river.allowed_names import AllowedNames
from bandits.river.model_codec import (
    CODEC_VERSION,
    MAX_OBJECTS,
    MAX_STORED_BYTES,
    MAX_UNPACKED_BYTES,
    SCALARS,
)

MAX_NESTING = 100
"""The depth to which immutable things (tuples, say) may be nested."""

_EMPTY_CONTAINERS: dict[str, Callable[[], Any]] = {
    kind.__name__: kind for kind in (list, dict, set, OrderedDict, Counter)
}


def unpack_model(blob: bytes, names: AllowedNames, river: str) -> Any:
    """Decode a model from its stored form.

    Raises ``StateCodecError`` if the form is damaged, too big, of another codec, of another minor version of river, or
    names what is not on the list.
    """
    lines = _inflate(blob).split(b"\n")
    if len(lines) > MAX_OBJECTS + 1:
        raise StateCodecError(f"the model has more than {MAX_OBJECTS} objects")
    try:
        header = json.loads(lines[0])
        _check_header(header, river)
        return _ModelReader(names).read(lines[1:], header["root"])
    except StateCodecError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # extension modules report damage as they please, even by panics
        raise StateCodecError(f"a stored model cannot be read: {error!r}") from error


def _inflate(blob: bytes) -> bytes:
    if len(blob) > MAX_STORED_BYTES:
        raise StateCodecError(
            f"a stored model takes {len(blob)} bytes, and {MAX_STORED_BYTES} are read at most"
        )
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(blob, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise StateCodecError(f"a stored model is damaged: {error}") from None
    if inflater.unconsumed_tail:
        raise StateCodecError(f"a stored model unfolds to more than {MAX_UNPACKED_BYTES} bytes")
    if not inflater.eof or inflater.unused_data:
        raise StateCodecError("a stored model is damaged: its end is not where it should be")
    return text


def _check_header(header: Any, river: str) -> None:
    if not isinstance(header, dict) or header.get("codec") != CODEC_VERSION:
        raise StateCodecError(f"the model was not stored by version {CODEC_VERSION} of this codec")
    stored = str(header.get("river"))
    if stored.split(".")[:2] != river.split(".")[:2]:
        raise StateCodecError(
            f"the model was stored by river {stored}, and this is {river}: rebuild it from the log"
        )


class _ModelReader:
    def __init__(self, names: AllowedNames) -> None:
        self._names = names
        self._lines: dict[int, list[Any]] = {}
        self._made: dict[int, Any] = {}
        self._unfinished: list[int] = []

    def read(self, lines: list[bytes], root: Any) -> Any:
        """Make all objects first and fill them afterwards, so that cycles close."""
        for line in lines:
            number, *parts = json.loads(line)
            if type(number) is not int or number in self._lines:
                raise StateCodecError(f"object {number!r} is stored twice, or has no number")
            self._lines[number] = parts
        # Immutable objects need their parts at once and recurse; all others are filled when everything exists.
        for number in self._lines:
            self._get(number)
        for number, parts in self._lines.items():
            self._fill(self._made[number], parts)
        return self._value(root)

    def _value(self, written: Any, depth: int = 0) -> Any:
        if type(written) is list:
            if len(written) == 1 and type(written[0]) is int:
                return self._get(written[0], depth)
            if written[:1] == ["unseeded"]:
                return self._unseeded(written[1])
        if type(written) in (list, dict):
            raise StateCodecError("a value is neither plain nor a reference")
        return written

    def _values(self, written: list[Any], depth: int = 0) -> list[Any]:
        return [part if type(part) in SCALARS else self._value(part, depth) for part in written]

    def _get(self, number: int, depth: int = 0) -> Any:
        made = self._made.get(number, self)
        if made is not self:
            return made
        if depth > MAX_NESTING:
            raise StateCodecError("a stored model is nested too deeply")
        if number not in self._lines:
            raise StateCodecError(f"a stored model refers to object {number}, which it does not hold")
        made = self._made[number] = self._make(self._lines[number], depth + 1)
        return made

    def _make(self, parts: list[Any], depth: int) -> Any:
        kind, *rest = parts
        if kind in _EMPTY_CONTAINERS:
            return _EMPTY_CONTAINERS[kind]()
        if kind == "object":
            found = self._class(rest[0], rest[1])
            return found.__new__(found, *self._values(rest[2], depth))
        if kind == "tuple":
            return tuple(self._values(rest, depth))
        if kind == "frozenset":
            return frozenset(self._values(rest, depth))
        if kind == "deque":
            return deque(maxlen=rest[0])
        if kind == "defaultdict":
            return defaultdict(self._value(rest[0], depth))
        if kind == "vector":
            return self._class(rest[0], rest[1])(
                {}, self._value(rest[2], depth), self._value(rest[3], depth), True
            )
        if kind == "partial":
            function, arguments = self._value(rest[0], depth), self._value(rest[1], depth)
            return partial(function, *arguments, **dict(self._pairs(rest[2], depth)))
        if kind == "method":
            return self._method(self._value(rest[0], depth), rest[1])
        return self._atom(kind, rest)

    def _method(self, owner: Any, name: str) -> Any:
        """Return a bound method, if the object's class is on the list and defines it."""
        function = getattr(type(owner), name, None)
        if not isinstance(function, FunctionType):
            raise StateCodecError(f"{type(owner).__qualname__} has no method {name!r}")
        self._names.find(function.__module__, function.__qualname__)  # raises if it is not on the list
        return MethodType(function, owner)

    def _atom(self, kind: Any, rest: list[Any]) -> Any:
        if kind == "bytes":
            return base64.b64decode(rest[0], validate=True)
        if kind in ("array", "scalar"):
            return _read_array(kind, *rest)
        if kind == "name":
            return self._names.find(rest[0], rest[1])
        if kind == "enum":
            found = self._class(rest[0], rest[1])
            if not issubclass(found, Enum):
                raise StateCodecError(f"{rest[0]}.{rest[1]} is no enumeration")
            return found[rest[2]]
        if kind == "random":
            return self._random(*rest)
        if kind == "random_state":
            return self._random_state(*rest)
        raise StateCodecError(f"a stored model holds something of the unknown kind {kind!r}")

    def _class(self, module: str, qualname: str) -> Any:
        found = self._names.find(module, qualname)
        if not isinstance(found, type):
            raise StateCodecError(f"{module}.{qualname} is not a class")
        return found

    def _fill(self, made: Any, parts: list[Any]) -> None:
        kind, *rest = parts
        if kind == "list":
            made.extend(self._values(rest))
        elif kind in ("dict", "OrderedDict", "Counter"):
            made.update(dict(self._pairs(rest)))  # a Counter would count pairs, not take them
        elif kind == "set":
            made.update(self._values(rest))
        elif kind == "deque":
            made.extend(self._values(rest[1:]))
        elif kind == "defaultdict":
            made.update(self._pairs(rest[1:]))
        elif kind == "vector":
            for key, value in self._pairs(rest[4:]):
                made[key] = value
        elif kind == "object":
            self._restore(made, *rest[3:])

    def _restore(self, made: Any, state: list[Any], items: list[Any], entries: list[Any]) -> None:
        for item in items:
            list.append(made, self._value(item))  # not the class's own method: no code of it may run
        put = OrderedDict.__setitem__ if isinstance(made, OrderedDict) else dict.__setitem__
        for key, value in self._pairs(entries):
            put(made, key, value)
        form, *parts = state
        restore = getattr(type(made), "__setstate__", None)
        if form == "attributes":
            attributes = {str(key): value for key, value in self._pairs(parts)}
            if restore is not None:
                restore(made, attributes)
                return
            for key, value in attributes.items():
                object.__setattr__(made, key, value)
        elif (value := self._value(parts[0])) is not None:
            if restore is None:
                raise StateCodecError(f"{type(made).__qualname__} takes no state")
            restore(made, value)

    def _pairs(self, written: list[Any], depth: int = 0) -> Iterator[tuple[Any, Any]]:
        values = self._values(written, depth)
        return zip(values[::2], values[1::2], strict=True)

    def _unseeded(self, kind: str) -> Any:
        module = {"Random": "random", "RandomState": "numpy.random.mtrand"}[kind]
        return self._class(module, kind)(0)

    def _random(self, version: int, state: str, following: float | None) -> Any:
        made = self._unseeded("Random")
        words = np.frombuffer(base64.b64decode(state, validate=True), dtype="<u4")
        made.setstate((version, tuple(words.tolist()), following))
        return made

    def _random_state(self, key: str, position: int, has_gauss: int, gauss: float) -> Any:
        made = self._unseeded("RandomState")
        words = np.frombuffer(base64.b64decode(key, validate=True), dtype="<u4").astype(np.uint32)
        state = {"key": words, "pos": position}
        made.set_state({"bit_generator": "MT19937", "state": state, "has_gauss": has_gauss, "gauss": gauss})
        return made


def _read_array(kind: str, dtype: str, shape: list[int], order: Literal["F", "C"], text: str) -> Any:
    described = np.dtype(dtype)
    if described.kind not in "biufcSU":
        raise StateCodecError(f"an array of {described} is not read")
    if min(shape, default=0) < 0:
        raise StateCodecError(f"an array of the shape {shape} is not read")
    array = np.frombuffer(base64.b64decode(text, validate=True), dtype=described)
    array = array.reshape(shape, order=order).astype(described.newbyteorder("="), order="K")
    return array[()] if kind == "scalar" else array
