"""Syntax trees of checked expressions, read from the form in which the checker gives them away.

That form is the protocol buffer ``cel.expr.CheckedExpr`` (https://github.com/google/cel-spec, ``checked.proto`` and
``syntax.proto``), whose field numbers never change. Only what is needed here is read: operations, names, literals.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

NodeKind = Literal["literal", "name", "field", "call", "list", "map", "loop"]
Literals = str | bytes | int | float | bool | None

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LOOP_PARTS = {2: "range", 4: "start", 5: "condition", 6: "step", 7: "result"}


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the tree.

    ``name``: a function, an attribute (``customer.age``), a variable of a loop, or a field. ``overloads``: the
    functions that the checker has found for a call, several if it depends on values. ``children`` of a loop are its
    range, start, condition, step and result; ``variable`` and ``accumulator`` are names in it. ``is_test``:
    ``has(a.b)``.
    """

    kind: NodeKind
    name: str = ""
    value: Literals = None
    children: tuple["Node", ...] = ()
    overloads: tuple[str, ...] = ()
    variable: str = ""
    accumulator: str = ""
    is_test: bool = False

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class _Reference:
    """An entry of the checker's table of references: an attribute's name, or the overloads of a call."""

    name: str = ""
    overloads: tuple[str, ...] = field(default=())


def read_tree(serialized: bytes) -> Node:
    """Read the tree of a serialized checked expression. Raises ``ValueError`` if it is of another form."""
    checked = serialized
    for number, value in _fields(serialized):
        if number == 2 and isinstance(value, bytes) and serialized.startswith(b"\n"):
            checked = value  # wrapped in google.protobuf.Any
    references: dict[int, _Reference] = {}
    expression = None
    for number, value in _fields(checked):
        if number == 2 and isinstance(value, bytes):
            entry = dict(_fields(value))
            references[int(entry.get(1, 0))] = _reference(_bytes(entry.get(2, b"")))
        elif number == 4 and isinstance(value, bytes):
            expression = value
    if expression is None:
        raise ValueError("the checker gave no expression")
    return _node(expression, references)


def _reference(data: bytes) -> _Reference:
    name, overloads = "", []
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 3:
            overloads.append(_text(value))
    return _Reference(name, tuple(overloads))


def _node(data: bytes, references: Mapping[int, _Reference]) -> Node:
    found = dict(_fields(data))
    reference = references.get(int(found.get(2, 0)), _Reference())
    for number, value in found.items():
        part = _bytes(value) if number != 2 else b""
        if number == 3:
            return Node("literal", value=_literal(part))
        if number == 4:
            return Node("name", name=reference.name or _text(dict(_fields(part)).get(1, b"")))
        if number == 5:
            return _field_node(part, reference, references)
        if number == 6:
            return _call_node(part, reference, references)
        if number == 7:
            items = [_node(_bytes(v), references) for n, v in _fields(part) if n == 1]
            return Node("list", children=tuple(items))
        if number == 8:
            return _map_node(part, references)
        if number == 9:
            return _loop_node(part, references)
    raise ValueError(f"the checker gave an expression with the unknown parts {sorted(found)}")


def _field_node(data: bytes, reference: _Reference, references: Mapping[int, _Reference]) -> Node:
    # An attribute is a name with points for the checker, although it looks like a chain of fields.
    if reference.name:
        return Node("name", name=reference.name)
    found = dict(_fields(data))
    operand = _node(_bytes(found[1]), references)
    return Node("field", _text(found.get(2, b"")), children=(operand,), is_test=bool(found.get(3, 0)))


def _call_node(data: bytes, reference: _Reference, references: Mapping[int, _Reference]) -> Node:
    name, children = "", []
    for number, value in _fields(data):
        if number == 2:
            name = _text(value)
        elif number in (1, 3):
            children.append(_node(_bytes(value), references))
    return Node("call", name, children=tuple(children), overloads=reference.overloads)


def _map_node(data: bytes, references: Mapping[int, _Reference]) -> Node:
    children = []
    for number, entry in _fields(data):
        if number == 2:
            children += [_node(_bytes(v), references) for n, v in _fields(_bytes(entry)) if n in (3, 4)]
    return Node("map", children=tuple(children))


def _loop_node(data: bytes, references: Mapping[int, _Reference]) -> Node:
    found = dict(_fields(data))
    children = tuple(_node(_bytes(found[number]), references) for number in _LOOP_PARTS)
    return Node(
        "loop",
        children=children,
        variable=_text(found.get(1, b"")),
        accumulator=_text(found.get(3, b"")),
    )


def _literal(data: bytes) -> Literals:
    for number, value in _fields(data):
        if number == 2:
            return bool(value)
        if number == 3:
            whole = int(value)
            return whole - (1 << 64) if whole >= 1 << 63 else whole
        if number == 4:
            return int(value)
        if number == 5:
            return float(struct.unpack("<d", _bytes(value))[0])
        if number == 6:
            return _text(value)
        if number == 7:
            return _bytes(value)
    return None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of the fields of a message: whole numbers, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"the checker gave a field of the unknown kind {kind}")
        if at + size > len(data):
            raise ValueError("the checker gave an expression that is cut off")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the checker gave an expression that is cut off")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("the checker gave a number where a message was expected")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode()
