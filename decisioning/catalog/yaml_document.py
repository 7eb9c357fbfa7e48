"""The whole catalogue as one YAML document, so that it can live in git and pass review.

Ids are keys, times are ISO 8601, what has its default is left out, and treatments stand in their offers. Reading
what was written gives the same entries again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from decisioning.catalog.checks import Mistake
from decisioning.catalog.kind import TIMES, Entry, Kind
from decisioning.catalog.kinds import KINDS, top_level_kinds
from decisioning.catalog.yaml_values import FAST_DUMPER, DocumentError, Lines, parse
from decisioning.errors import InvalidRule
from storage.clock import to_ms

__all__ = ["FORMAT", "MAX_BYTES", "Document", "DocumentError", "from_yaml", "read_document", "to_yaml"]

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


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was read: its entries, and all that is wrong with it. Those that are wrong are ``unread``."""

    entries: list[Entry]
    unread: list[tuple[str, str]]
    mistakes: list[DocumentError]
    values: Mapping[str, Any]
    lines: Lines

    def place(self, mistake: Mistake) -> DocumentError:
        """Say where in the document a mistake is. There is no line for what the document does not have."""
        error = mistake.error
        if isinstance(error, InvalidRule):
            # Lines are those of the document here.
            inner = f"line {error.rule.line}, " if error.rule.line > 1 else ""
            hint = f" ({error.suggestion})" if error.suggestion else ""
            reason = f"in the expression, {inner}column {error.column}: {error.rule.message}{hint}"
        else:
            reason = str(error)
        return DocumentError(mistake.path, reason, self._line(mistake.path), mistake.entity or None)

    def refuse(self, mistakes: Iterable[Mistake]) -> NoReturn:
        """Raise ``DocumentError`` with what is wrong with the document, and with the catalogue that it makes."""
        placed = [self.place(mistake) for mistake in mistakes]
        placed.sort(key=lambda mistake: (mistake.line is None, mistake.line or 0))
        raise DocumentError.of([*self.mistakes, *placed])

    def _line(self, field: str) -> int | None:
        """Return the line of what a path leads to, or of the innermost thing around it."""
        value: Any = self.values
        path: tuple[Any, ...] = ()
        line, rest = None, field
        while rest:
            found = next(((key, taken) for key, taken in _keys(value, rest)), None)
            if found is None:
                break
            key, taken = found
            value, path, rest = value[key], (*path, key), rest[taken:].removeprefix(".")
            line = self.lines.get(path, line)
        # A section alone is not the place of a thing that the document does not have.
        return line if len(path) > 1 else None


def _keys(value: Any, rest: str) -> Iterator[tuple[Any, int]]:
    """Yield the keys by which a dotted path may go on from a value, the longest first, and their lengths in it."""
    names: list[tuple[Any, str]] = []
    if isinstance(value, Mapping):
        names = [(key, str(key)) for key in value]
    elif isinstance(value, list):
        # Rules and steps of scripts are called by their names in paths of errors, other items by their number.
        for index, item in enumerate(value):
            own = item if isinstance(item, Mapping) else {}
            names += [(index, str(n)) for n in (own.get("name"), own.get("step_id"), index) if n is not None]
    for key, name in sorted(names, key=lambda pair: -len(pair[1])):
        if rest == name or rest.startswith(f"{name}."):
            yield key, len(name)


def from_yaml(text: str, check: Check | None = None) -> list[Entry]:
    """Return the entries of a document. ``check`` is called with each of them.

    Raises ``DocumentError`` for anything that is not understood: all of it, with the lines, and suggestions for
    misspelt names.
    """
    document = read_document(text, check)
    if document.mistakes:
        document.refuse(())
    return document.entries


def read_document(text: str, check: Check | None = None) -> Document:
    """Read a document with all that is wrong in it. ``check`` is called with each of its entries.

    Raises ``DocumentError`` if it is not YAML, or not a catalogue: nothing is read then.
    """
    if len(text) > MAX_BYTES:
        raise DocumentError("document", f"has {len(text)} characters; at most {MAX_BYTES} are taken")
    values, lines = parse(text)
    if not isinstance(values, dict) or values.get("nextbest") != FORMAT:
        raise DocumentError("nextbest", f"the document must begin with 'nextbest: {FORMAT}'", 1)
    kinds = {kind.section: kind for kind in top_level_kinds() if kind.in_files}
    document = Document([], [], [], values, lines)
    for section, things in values.items():
        if section == "nextbest":
            continue
        if section not in kinds:
            document.mistakes.append(_unknown((section,), lines, kinds))
        elif not isinstance(things, dict):
            document.mistakes.append(
                DocumentError.at((section,), lines[section,], "must map ids to what they are")
            )
        else:
            for name, body in things.items():
                _read(document, kinds[section], str(name), body, (section, name), check)
    return document


def _write(kind: Kind[Any], name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    written = kind.normalise(name, body)
    for stored, key in TIMES.items():
        if stored in written:
            written[key] = datetime.fromtimestamp(written.pop(stored) / 1000, UTC).isoformat()
    return written


def _read(
    document: Document, kind: Kind[Any], name: str, body: Any, path: tuple[Any, ...], check: Check | None
) -> None:
    """Add the entries of one thing to the document: itself, and those that stand in it."""
    lines, mistakes = document.lines, document.mistakes
    before = len(mistakes)
    if not isinstance(body, dict):
        mistakes.append(DocumentError.at(path, lines[path], "must map names to values"))
        document.unread.append((kind.name, name))
        return
    body = dict(body)
    children = {child.section: child for child in KINDS.values() if child.parent == kind.name}
    inner = {section: body.pop(section) for section in children if section in body}
    known = [TIMES.get(field, field) for field in kind.body_fields]
    suggested = set()
    for key in [key for key in body if key not in known]:
        del body[key]
        mistakes.append(_unknown((*path, key), lines, [*known, *children]))
        suggested.update(get_close_matches(str(key), known, n=1))
    for stored, written in TIMES.items():
        if written in body:
            try:
                body[stored] = _milliseconds(body.pop(written), (*path, written), lines)
            except DocumentError as error:
                mistakes.append(error)
    entry = _checked(document, kind, name, body, path, check, suggested)
    if entry is not None and len(mistakes) == before:
        document.entries.append(entry)
    else:
        document.unread.append((kind.name, name))
    for section, things in inner.items():
        at = (*path, section)
        if not isinstance(things, dict):
            mistakes.append(DocumentError.at(at, lines[at], "must map ids to what they are"))
            continue
        for own_id, thing in things.items():
            _read(document, children[section], f"{name}/{own_id}", thing, (*at, own_id), check)


def _checked(
    document: Document,
    kind: Kind[Any],
    name: str,
    body: dict[str, Any],
    path: tuple[Any, ...],
    check: Check | None,
    suggested: set[str],
) -> Entry | None:
    """Return the entry of a body; ``None`` if anything is wrong with it. ``suggested``: what is there, misspelt."""
    errors: list[Any] = []
    normal: dict[str, Any] | None = None
    try:
        normal = kind.normalise(name, body)
    except ValidationError as error:
        errors += error.errors()
    if check is not None:
        try:
            check(kind.name, name, body if normal is None else normal)
        except ValidationError as error:
            # What is wrong with the shape of a field is said once.
            told = {found["loc"][:1] for found in errors}
            errors += [found for found in error.errors() if found["loc"][:1] not in told]
    found = [_invalid(error, path, document.lines) for error in errors if not _is_misspelt(error, suggested)]
    document.mistakes.extend(found)
    return None if errors or normal is None else (kind.name, name, normal)


def _is_misspelt(error: Any, suggested: set[str]) -> bool:
    """Return whether a field is only missing because its name is misspelt, which is said already."""
    return error["type"] == "missing" and len(error["loc"]) == 1 and error["loc"][0] in suggested


def _milliseconds(value: Any, path: tuple[Any, ...], lines: Lines) -> int:
    try:
        at = value if isinstance(value, date) else datetime.fromisoformat(value)
        if not isinstance(at, datetime):
            at = datetime.combine(at, time())
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(to_ms(at), 0)
    except (TypeError, ValueError, OverflowError):
        raise DocumentError.at(path, lines[path], "must be a time such as 2026-03-01T00:00:00Z") from None


def _invalid(error: Any, path: tuple[Any, ...], lines: Lines) -> DocumentError:
    full = (*path, *error["loc"])
    line = next((lines[full[:end]] for end in range(len(full), 0, -1) if full[:end] in lines), 1)
    if error["type"] in _UNKNOWN:
        return DocumentError.at(full, line, f"there is no {full[-1]!r} here")
    message = "is needed" if error["type"] == "missing" else str(error["msg"])
    return DocumentError.at(full, line, message)


def _unknown(path: tuple[Any, ...], lines: Lines, known: Iterable[str]) -> DocumentError:
    near = get_close_matches(str(path[-1]), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    return DocumentError.at(path, lines[path], f"there is no {path[-1]!r}{hint}")
