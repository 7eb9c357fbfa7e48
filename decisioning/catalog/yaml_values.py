"""YAML as plain values, with the line of each: the part of YAML that a catalogue needs, and nothing surprising."""

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import yaml

from decisioning.errors import Invalid

MAX_DEPTH = 12
_FLOAT_BITS = 1023
"""Larger whole numbers do not fit into a floating-point number."""
_FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FAST_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""In C where PyYAML was built with it: a catalogue of 2,500 offers has a million characters and more."""

Lines = Mapping[tuple[Any, ...], int]
"""The line of every path."""

_TAG = "tag:yaml.org,2002:"
_TEXT = f"{_TAG}str"
_COLLECTIONS = (f"{_TAG}map", f"{_TAG}seq")
# Truth values are only these, so that `off`, `on`, `yes` and `no` are names; numbers are decimal, so that `21:00` is a
# text. All of these are what YAML 1.1 takes for the same, so that what is written plainly is read again as it was.
_RESOLVED = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
)
_KEPT = (f"{_TAG}null", f"{_TAG}timestamp")


class DocumentError(Invalid):
    """The document is wrong; the field is the path, and the message names the line.

    ``line`` and ``entity`` (the path of the thing) are ``None`` where nothing in the document is at fault; ``reason``
    is the message without the line. ``mistakes``: all that is wrong with the document, of which this is the first.
    """

    def __init__(
        self, field: str, reason: str, line: int | None = None, entity: str | None = None, *, more: int = 0
    ) -> None:
        others = f" (and {more} more)" if more else ""
        super().__init__(field, f"{'' if line is None else f'line {line}: '}{reason}{others}")
        self.reason, self.line, self.entity = reason, line, entity
        self.mistakes: tuple[DocumentError, ...] = (self,)

    @classmethod
    def at(cls, path: tuple[Any, ...], line: int, problem: object) -> "DocumentError":
        """Make an error of a path, written with dots (the root is the document), its line, and the problem."""
        return cls(".".join(str(part) for part in path) or "document", str(problem), line, _entity(path))

    @classmethod
    def of(cls, mistakes: Sequence["DocumentError"]) -> "DocumentError":
        """Make one error of all mistakes of a document."""
        first = mistakes[0]
        error = cls(first.field, first.reason, first.line, first.entity, more=len(mistakes) - 1)
        error.mistakes = tuple(mistakes)
        return error


def _entity(path: tuple[Any, ...]) -> str | None:
    """Return the path of the thing: the section with its id, and those of a treatment."""
    if len(path) < 2:
        return None
    is_inner = len(path) >= 4 and path[2] == "treatments"
    return ".".join(str(part) for part in path[: 4 if is_inner else 2])


def parse(text: str) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """Parse a document into plain values, and the line of every path. Raises ``DocumentError``."""
    lines: dict[tuple[Any, ...], int] = {(): 1}
    try:
        _check_structure(text)
        with contextlib.closing(_Loader(text)) as loader:
            node = loader.get_single_node()
            return (None if node is None else _value(loader, node, (), lines)), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DocumentError.at((), line, error.problem) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DocumentError("document", f"is not YAML: {error}") from None


def _check_structure(text: str) -> None:
    """Refuse aliases and deep nesting before anything is made of them."""
    depth = 0
    for event in yaml.parse(text, Loader=_FAST_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 1
        # Aliases and anchors can blow a small file up to a large one; tags make of it what it does not say.
        if isinstance(event, yaml.AliasEvent):
            raise DocumentError.at((), line, "aliases (*name) are not taken here")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DocumentError.at((), line, f"is nested more than {MAX_DEPTH} levels deep")


class _Loader(_FAST_LOADER):  # type: ignore[misc, valid-type] # found at import
    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in found if tag in _KEPT]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def close(self) -> None:
        """Free the parser."""
        self.dispose()


for _name, _pattern, _first in _RESOLVED:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern})$"), list(_first))


def _value(loader: _Loader, node: Any, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        return _scalar(loader, node, path)
    if node.tag not in _COLLECTIONS:
        raise _tagged(node, path)
    if isinstance(node, yaml.MappingNode):
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _scalar(loader, key_node, path) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str | int):
                raise DocumentError.at(path, line, "names must be plain text")
            key = str(key) if path != () else key
            if key in found:
                raise DocumentError.at((*path, key), line, f"{key!r} is there twice")
            found[key] = _value(loader, value_node, (*path, key), lines)
            lines[*path, key] = line
        return found
    return [_value(loader, item, (*path, i), lines) for i, item in enumerate(node.value)]


def _scalar(loader: _Loader, node: Any, path: tuple[Any, ...]) -> Any:
    """Return a text, a number, a truth value, ``None`` or a time: as it is written, not as a tag says."""
    if node.tag == _TEXT:
        return node.value
    if node.tag != loader.resolve(yaml.ScalarNode, node.value, (True, False)):
        raise _tagged(node, path)
    line = node.start_mark.line + 1
    try:
        value = loader.construct_object(node)
    except ValueError as error:
        raise DocumentError.at(path, line, error) from None
    if isinstance(value, int) and value.bit_length() > _FLOAT_BITS:
        raise DocumentError.at(path, line, "the number is too large: at most 1.8e308 is taken")
    if isinstance(value, float) and not math.isfinite(value):
        raise DocumentError.at(path, line, f"must be a finite number; not {node.value}")
    return value


def _tagged(node: Any, path: tuple[Any, ...]) -> DocumentError:
    line = node.start_mark.line + 1
    return DocumentError.at(path, line, f"tags ({node.tag}) are not taken here")
