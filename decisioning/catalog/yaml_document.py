"""The whole catalogue as one YAML document, so that it can live in git and pass review.

Ids are keys, times are ISO 8601, what has its default is left out, and treatments stand in their offers. Reading
what was written gives the same entries again.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

from decisioning.catalog.kind import TIMES, Entry, Kind
from decisioning.catalog.kinds import KINDS, top_level_kinds
from decisioning.catalog.yaml_values import FAST_DUMPER, DocumentError, Lines, parse
from storage.clock import to_ms

__all__ = ["FORMAT", "MAX_BYTES", "DocumentError", "from_yaml", "to_yaml"]

FORMAT = 1
MAX_BYTES = 16 * 1024 * 1024
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")

Check = Callable[[str, str, Mapping[str, Any]], None]
"""Given kind, id and body; raises ``ValidationError`` for ids and values that are not taken."""


def to_yaml(entries: Iterable[Entry]) -> str:
    """Return the document of a catalogue's entries."""
    written: dict[str, dict[str, Any]] = {kind.name: {} for kind in KINDS.values() if kind.in_files}
    for kind, name, body in sorted(entries, key=lambda e: (e[0], e[1])):
        if body is not None:
            written[kind][name] = _write(KINDS[kind], name, body)
    document: dict[str, Any] = {"nextbest": FORMAT}
    for kind, things in written.items():
        parent = KINDS[kind].parent
        for name, thing in things.items():
            if parent is None:
                document.setdefault(KINDS[kind].section, {})[name] = thing
            elif (outer := name.partition("/")[0]) in written[parent]:
                inner = written[parent][outer].setdefault(KINDS[kind].section, {})
                inner[KINDS[kind].own_id(name)] = thing
    text: str = yaml.dump(document, Dumper=FAST_DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return text


def from_yaml(text: str, check: Check | None = None) -> list[Entry]:
    """Return the entries of a document. ``check`` is called with each of them.

    Raises ``DocumentError`` for anything that is not understood: with the line, and a suggestion for a misspelt name.
    """
    if len(text) > MAX_BYTES:
        raise DocumentError("document", f"has {len(text)} characters; at most {MAX_BYTES} are taken")
    document, lines = parse(text)
    if not isinstance(document, dict) or document.get("nextbest") != FORMAT:
        raise DocumentError("nextbest", f"line 1: the document must begin with 'nextbest: {FORMAT}'")
    kinds = {kind.section: kind for kind in top_level_kinds() if kind.in_files}
    entries: list[Entry] = []
    for section, things in document.items():
        if section == "nextbest":
            continue
        if section not in kinds:
            raise _unknown((section,), lines, kinds)
        if not isinstance(things, dict):
            raise DocumentError.at((section,), lines[section,], "must map ids to what they are")
        for name, body in things.items():
            for entry, path in _read(kinds[section], str(name), body, (section, name), lines):
                if check is not None and entry[2] is not None:
                    try:
                        check(entry[0], entry[1], entry[2])
                    except ValidationError as error:
                        raise _invalid(error, path, lines) from None
                entries.append(entry)
    return entries


def _write(kind: Kind[Any], name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    written = kind.normalise(name, body)
    for stored, key in TIMES.items():
        if stored in written:
            written[key] = datetime.fromtimestamp(written.pop(stored) / 1000, UTC).isoformat()
    return written


def _read(
    kind: Kind[Any], name: str, body: Any, path: tuple[Any, ...], lines: Lines
) -> list[tuple[Entry, tuple[Any, ...]]]:
    """Return the entries of one thing with their paths: itself, and those that stand in it."""
    if not isinstance(body, dict):
        raise DocumentError.at(path, lines[path], "must map names to values")
    body = dict(body)
    inner: list[tuple[Kind[Any], dict[Any, Any]]] = []
    for child in (other for other in KINDS.values() if other.parent == kind.name):
        at = (*path, child.section)
        inner.append((child, body.pop(child.section, {})))
        if not isinstance(inner[-1][1], dict):
            raise DocumentError.at(at, lines[at], "must map ids to what they are")
    known = [TIMES.get(field, field) for field in kind.body_fields]
    for key in body:
        if key not in known:
            raise _unknown((*path, key), lines, known)
    for stored, written in TIMES.items():
        if written in body:
            body[stored] = _milliseconds(body.pop(written), (*path, written), lines)
    try:
        found: list[tuple[Entry, tuple[Any, ...]]] = [((kind.name, name, kind.normalise(name, body)), path)]
    except ValidationError as error:
        raise _invalid(error, path, lines) from None
    for child, things in inner:
        for own_id, thing in things.items():
            found += _read(child, f"{name}/{own_id}", thing, (*path, child.section, own_id), lines)
    return found


def _milliseconds(value: Any, path: tuple[Any, ...], lines: Lines) -> int:
    try:
        at = value if isinstance(value, date) else datetime.fromisoformat(value)
        if not isinstance(at, datetime):
            at = datetime.combine(at, time())
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(to_ms(at), 0)
    except (TypeError, ValueError, OverflowError):
        raise DocumentError.at(path, lines[path], "must be a time such as 2026-03-01T00:00:00Z") from None


def _invalid(error: ValidationError, path: tuple[Any, ...], lines: Lines) -> DocumentError:
    # A misspelt name makes the right one missing as well; the misspelt one tells more.
    first = min(error.errors(), key=lambda e: e["type"] not in _UNKNOWN)
    full = (*path, *first["loc"])
    line = next((lines[full[:end]] for end in range(len(full), 0, -1) if full[:end] in lines), 1)
    if first["type"] in _UNKNOWN:
        return DocumentError.at(full, line, f"there is no {full[-1]!r} here")
    message = "is needed" if first["type"] == "missing" else str(first["msg"])
    return DocumentError.at(full, line, message)


def _unknown(path: tuple[Any, ...], lines: Lines, known: Iterable[str]) -> DocumentError:
    near = get_close_matches(str(path[-1]), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    return DocumentError.at(path, lines[path], f"there is no {path[-1]!r}{hint}")
