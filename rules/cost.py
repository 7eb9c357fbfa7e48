"""The cost of an expression: a bound of its steps, from the sizes of what it looks at.

A step is about a tenth of a microsecond: one operation on a number. Texts cost a step for 50 characters, and lists
that grow in a loop (``map``, ``filter``) are copied at every turn, four steps an item.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rules.syntax import Node
from rules.vocabulary import Attribute

MAX_COST = 100_000
"""About ten milliseconds: more is refused when a rule is saved, and not evaluated."""

MAX_ITEMS = 200
"""Items of a list that are reckoned with when a rule is saved."""
MAX_CHARS = 1000
"""Characters of a text."""
MAX_ITEM_CHARS = 200
"""Characters of an item of a list."""

_CHARS_A_STEP = 50
_STEPS_AN_ITEM_COPIED = 4
_STEPS_A_CONVERSION = 5
_STEPS_A_PATTERN = 100
_REPETITION = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_BOUND = 10**12
"""Nothing is reckoned beyond this."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a value: characters, or items and the size of the largest one. 0 for numbers and the like."""

    count: float = 0
    item: "Size | None" = None

    @property
    def chars(self) -> float:
        """The characters in it, all in all."""
        return self.count if self.item is None else self.count * (1 + self.item.chars)


Sizes = Callable[[str], Size]
_NONE = Size()


def declared_size(attribute: Attribute | None) -> Size:
    """Return the size that is reckoned with for an attribute when a rule is saved."""
    if attribute is None:
        return _NONE
    longest = max((len(str(value)) for value in attribute.values), default=None)
    if attribute.type == "string":
        return Size(MAX_CHARS if longest is None else longest)
    if attribute.type == "list":
        return Size(MAX_ITEMS, Size(MAX_ITEM_CHARS if longest is None else longest))
    return _NONE


def actual_size(value: Any) -> Size:
    """Return the size of a value that is there."""
    if isinstance(value, str):
        return Size(len(value))
    if isinstance(value, list | tuple):
        return Size(len(value), Size(max((len(v) for v in value if isinstance(v, str)), default=0)))
    return _NONE


def cost(tree: Node, sizes: Sizes) -> float:
    """Bound the steps of an expression. ``sizes`` gives the size of each attribute."""
    return _measure(tree, sizes, {})[0]


def _measure(node: Node, sizes: Sizes, variables: Mapping[str, Size]) -> tuple[float, Size]:
    """Return the steps of a node, and the size of its result."""
    if node.kind == "literal":
        return 1, Size(len(node.value)) if isinstance(node.value, str | bytes) else _NONE
    if node.kind == "name":
        known = variables.get(node.name)
        return 1, sizes(node.name) if known is None else known
    if node.kind == "loop":
        return _measure_loop(node, sizes, variables)
    measured = [_measure(child, sizes, variables) for child in node.children]
    below = 1 + sum(steps for steps, _ in measured)
    found = [size for _, size in measured]
    if node.kind in ("list", "map"):
        return below + len(found), Size(len(found), _largest(found))
    if node.kind == "field":
        return below, found[0].item or _NONE
    steps, size = _measure_call(node, found)
    return min(below + steps, _BOUND), size


def _measure_loop(node: Node, sizes: Sizes, variables: Mapping[str, Size]) -> tuple[float, Size]:
    range_node, start_node, *body, result_node = node.children
    range_steps, ranged = _measure(range_node, sizes, variables)
    start_steps, start = _measure(start_node, sizes, variables)
    # A list that grows has half of its items on the average.
    growing = start.item is not None
    accumulated = Size(ranged.count / 2, _NONE) if growing else start
    inner = {**variables, node.variable: ranged.item or _NONE, node.accumulator: accumulated}
    turn, grown = 0.0, _NONE
    for part in body:
        steps, grown = _measure(part, sizes, inner)
        turn += steps
    item = grown.item or _NONE
    ended = Size(ranged.count, item) if growing else start
    result_steps, result = _measure(result_node, sizes, {**variables, node.accumulator: ended})
    return min(range_steps + start_steps + ranged.count * turn + result_steps, _BOUND), result


def _measure_call(node: Node, found: list[Size]) -> tuple[float, Size]:
    """Return the steps of a call without its arguments, and the size of its result."""
    name = node.name
    if name == "_+_":
        total = Size(
            sum(size.count for size in found), _largest([s.item for s in found if s.item is not None])
        )
        if any(size.item is not None for size in found):
            return _STEPS_AN_ITEM_COPIED * total.count, total
        return total.count / _CHARS_A_STEP, Size(total.count)
    if name == "_?_:_":
        return 1, max(found[1:], key=lambda size: size.chars)
    if name == "_[_]":
        return 1, found[0].item or _NONE
    if name == "@in":
        needle, container = found
        return container.count / 4 + needle.chars / _CHARS_A_STEP, _NONE
    if name in ("_&&_", "_||_", "!_", "@not_strictly_false", "-_", "dyn"):
        return 1, found[0]
    if name == "matches":
        return _pattern_steps(node, *found), _NONE
    if name.startswith("_"):  # comparisons and arithmetic
        return min(size.chars for size in found) / _CHARS_A_STEP, _NONE
    chars = sum(size.chars for size in found)
    return _STEPS_A_CONVERSION + chars / _CHARS_A_STEP, Size(chars + 40) if name in (
        "string",
        "bytes",
    ) else _NONE


def _pattern_steps(node: Node, text: Size, pattern: Size) -> float:
    """Return the steps of a match: linear in the text, and in what the pattern's repetitions write out."""
    source = node.children[-1].value
    if not isinstance(source, str):
        # Somebody else's pattern: as long as the text, and with repetitions of which nothing is known.
        return _STEPS_A_PATTERN * (1 + pattern.count) + text.count * pattern.count / 4
    repeated = 1
    for least, most in _REPETITION.findall(source):
        repeated *= max(int(least[:6]), int(most[:6] or 0), 1)
    return _STEPS_A_PATTERN + min(len(source) * repeated, _BOUND) * (1 + text.count / _CHARS_A_STEP)


def _largest(sizes: list[Size]) -> Size:
    return max(sizes, key=lambda size: size.chars, default=_NONE)
