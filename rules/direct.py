"""Conditions of the plainest kind, evaluated on values by path without a context of CEL.

They are made of comparisons of an attribute with a literal, ``in``, ``has(path)``, segments and attributes that are
true or false, joined by ``&&``, ``||`` and ``!``: what most rules are. A context of CEL would convert all values that
the rules of a placement look at, which takes longer than evaluating them.

As in CEL (https://github.com/google/cel-spec, "Logical Operators"), what is missing does not matter where the other
operand decides: each function returns ``None`` if it does matter, and the caller lets CEL say what is missing.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rules.syntax import Node

Values = Mapping[str, Any]
Direct = Callable[[Values], bool | None]
"""Evaluates a condition on values by path; ``None``: something that decides is missing."""

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "_==_": operator.eq,
    "_!=_": operator.ne,
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}
_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_"}
_PLAIN = (str, bool, int, float)


def compile_direct(tree: Node, presence: str) -> Direct | None:
    """Compile a condition; ``None`` if it has any other part.

    ``tree``: of a condition on which both evaluators agree, where a variable below the root ``presence`` stands for
    each ``has(path)``.
    """
    match tree.kind, tree.name, tree.children:
        case "literal", _, _ if isinstance(tree.value, bool):
            return _constant(tree.value)
        case "name", name, _ if name.startswith(f"{presence}."):
            return _is_there(name.removeprefix(f"{presence}."))
        case "name", name, _:
            return operator.methodcaller("get", name)
        case "call", "!_", (operand,):
            return _negated(compile_direct(operand, presence))
        case "call", "_&&_" | "_||_" as name, _:
            parts = [compile_direct(part, presence) for part in _operands(tree, name)]
            return (
                _joined([part for part in parts if part is not None], name == "_||_") if all(parts) else None
            )
        case "call", "@in", (item, found):
            return _membership(item, found)
        case "call", name, (left, right) if name in _COMPARISONS:
            if left.kind == "literal":
                left, right, name = right, left, _MIRRORED.get(name, name)
            if left.kind == "name" and right.kind == "literal" and isinstance(right.value, _PLAIN):
                return _comparison(left.name, _COMPARISONS[name], right.value)
    return None


def _operands(tree: Node, name: str) -> list[Node]:
    """Return what is joined by an operator, however it is nested, from left to right."""
    found: list[Node] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if node.kind == "call" and node.name == name:
            waiting += reversed(node.children)
        else:
            found.append(node)
    return found


def _constant(value: bool) -> Direct:
    return lambda values: value


def _is_there(path: str) -> Direct:
    return lambda values: path in values


def _comparison(path: str, compare: Callable[[Any, Any], bool], literal: str | bool | float) -> Direct:
    def compared(values: Values) -> bool | None:
        value = values.get(path)
        return None if value is None else compare(value, literal)

    return compared


def _membership(item: Node, found: Node) -> Direct | None:
    """Compile ``attribute in [literals]``, or ``literal in attribute``."""
    literals = [child.value for child in found.children]
    if item.kind == "name" and found.kind == "list" and {type(value) for value in literals} <= {str}:
        path, texts = item.name, frozenset(literals)  # texts alone: for Python, True is among [1]

        def is_among(values: Values) -> bool | None:
            value = values.get(path)
            return None if value is None else value in texts

        return is_among
    if item.kind == "literal" and isinstance(item.value, str) and found.kind == "name":
        return _comparison(found.name, operator.contains, item.value)
    return None


def _negated(condition: Direct | None) -> Direct | None:
    if condition is None:
        return None

    def negated(values: Values) -> bool | None:
        met = condition(values)
        return None if met is None else not met

    return negated


def _joined(conditions: Sequence[Direct], decisive: bool) -> Direct:
    """Return ``decisive`` if any condition is that, whatever is missing; its opposite if none is and nothing is."""
    conditions = tuple(conditions)

    def joined(values: Values) -> bool | None:
        missing = False
        for condition in conditions:
            met = condition(values)
            if met is decisive:
                return decisive
            if met is None:
                missing = True
        return None if missing else not decisive

    return joined
