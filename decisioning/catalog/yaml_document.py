"""The whole catalogue as one YAML document, so that it can live in git and pass review.

Ids are keys, times are ISO 8601, what has its default is left out, and treatments stand in their offers. Reading
what was written gives the same entries again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from decisioning.catalog.kinds import CLASSES, ID_FIELDS, SECTIONS, TYPES, Entry
from decisioning.catalog.yaml_values import FAST_DUMPER, DocumentError, Lines, parse, path_text
from decisioning.model.entities import GOALS
from storage.clock import to_datetime, to_ms

__all__ = ["FORMAT", "MAX_BYTES", "DocumentError", "from_yaml", "normalised", "to_yaml"]

FORMAT = 1
MAX_BYTES = 16 * 1024 * 1024
_TIMES = {"starts_ms": "starts_at", "ends_ms": "ends_at"}
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")

Check = Callable[[str, str, Mapping[str, Any]], None]
"""Given kind, id and body; raises ``ValidationError`` for ids and values that are not taken."""


def to_yaml(entries: Iterable[Entry]) -> str:
    """The document of a catalogue's entries."""
    document: dict[str, Any] = {"nextbest": FORMAT}
    treatments: dict[str, dict[str, Any]] = {}
    sections: dict[str, dict[str, Any]] = {}
    for kind, name, body in sorted(entries, key=lambda e: (e[0], e[1])):
        if body is None:
            continue
        if kind == "goal":
            sections.setdefault("goals", {})[name] = normalised(kind, name, body)
        elif kind == "treatment":
            offer_id, _, treatment_id = name.partition("/")
            treatments.setdefault(offer_id, {})[treatment_id] = _shown(kind, name, body)
        else:
            sections.setdefault(SECTIONS[kind], {})[name] = _shown(kind, name, body)
    for offer_id, body in sections.get("offers", {}).items():
        if offer_id in treatments:
            body["treatments"] = treatments[offer_id]
    document |= {name: sections[name] for name in (*SECTIONS.values(), "goals") if name in sections}
    text: str = yaml.dump(document, Dumper=FAST_DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return text


def from_yaml(text: str, check: Check | None = None) -> list[Entry]:
    """The entries of a document. ``check`` is asked about each of them.

    Raises
    ------
    DocumentError
        For anything that is not understood: with the line, and a suggestion for a misspelt name.
    """
    if len(text) > MAX_BYTES:
        raise DocumentError("document", f"has {len(text)} characters; at most {MAX_BYTES} are taken")
    document, lines = parse(text)
    if not isinstance(document, dict) or document.get("nextbest") != FORMAT:
        raise DocumentError("nextbest", f"line 1: the document must begin with 'nextbest: {FORMAT}'")
    kinds = {section: kind for kind, section in SECTIONS.items()} | {"goals": "goal"}
    entries: list[Entry] = []
    for section, things in document.items():
        if section == "nextbest":
            continue
        if section not in kinds:
            raise _unknown((section,), lines, kinds)
        if not isinstance(things, dict):
            raise DocumentError(section, f"line {lines[section,]}: must map ids to what they are")
        for name, body in things.items():
            for entry, path in _read(kinds[section], str(name), body, (section, name), lines):
                if check is not None and entry[2] is not None:
                    try:
                        check(entry[0], entry[1], entry[2])
                    except ValidationError as error:
                        raise _invalid(entry[0], error, path, lines) from None
                entries.append(entry)
    return entries


def normalised(kind: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A body with everything that is not its default, as plain JSON: two that mean the same are equal.

    Raises
    ------
    ValidationError
        If it is not of the kind's shape.
    """
    if kind == "goal":
        return {"lever": float(body["lever"])}
    adapter: TypeAdapter[Any] = CLASSES[kind]
    id_field = ID_FIELDS[kind]
    extra = {"number": 0} if kind == "offer" else {}
    thing = adapter.validate_python({**body, id_field: name.rpartition("/")[2], **extra})
    left_out = {id_field, "number", "treatments"} if kind == "offer" else {id_field}
    kept = [f for f in fields(thing) if f.name not in left_out and not _is_default(thing, f)]
    return {f.name: _plain(getattr(thing, f.name)) for f in kept}


def _is_default(thing: Any, f: "Field[Any]") -> bool:
    value = getattr(thing, f.name)
    if f.default is not MISSING:
        return bool(value == f.default)
    return f.default_factory is not MISSING and value == f.default_factory()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if not _is_default(value, f)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _shown(kind: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    shown = normalised(kind, name, body)
    for stored, written in _TIMES.items():
        if stored in shown:
            shown[written] = to_datetime(shown.pop(stored)).isoformat()
    return shown


def _read(
    kind: str, name: str, body: Any, path: tuple[Any, ...], lines: Lines
) -> list[tuple[Entry, tuple[Any, ...]]]:
    """The entries of one thing, with their paths: itself, and the treatments of an offer."""
    if not isinstance(body, dict):
        raise DocumentError(path_text(path), f"line {lines[path]}: must map names to values")
    if kind == "goal":
        return [(_goal(name, body, path, lines), path)]
    body = dict(body)
    treatments = body.pop("treatments", {}) if kind == "offer" else {}
    if not isinstance(treatments, dict):
        at = (*path, "treatments")
        raise DocumentError(path_text(at), f"line {lines[at]}: must map ids to what they are")
    known = _names(kind)
    for key in body:
        if key not in known:
            raise _unknown((*path, key), lines, known)
    for stored, written in _TIMES.items():
        if written in body:
            body[stored] = _milliseconds(body.pop(written), (*path, written), lines)
    try:
        found: list[tuple[Entry, tuple[Any, ...]]] = [((kind, name, normalised(kind, name, body)), path)]
    except ValidationError as error:
        raise _invalid(kind, error, path, lines) from None
    for treatment_id, treatment in treatments.items():
        at = (*path, "treatments", treatment_id)
        found += _read("treatment", f"{name}/{treatment_id}", treatment, at, lines)
    return found


def _names(kind: str) -> list[str]:
    """The names that a thing has in a document."""
    left_out = (ID_FIELDS[kind], "number", "treatments") if kind == "offer" else (ID_FIELDS[kind],)
    names = (field.name for field in fields(TYPES[kind]) if field.name not in left_out)
    return [_TIMES.get(name, name) for name in names]


def _goal(name: str, body: Mapping[str, Any], path: tuple[Any, ...], lines: Lines) -> Entry:
    lever = body.get("lever")
    if (
        name not in GOALS
        or set(body) != {"lever"}
        or isinstance(lever, bool)
        or not isinstance(lever, int | float)
    ):
        known = ", ".join(GOALS)
        raise DocumentError(
            path_text(path), f"line {lines[path]}: a goal is one of {known}, with a lever in percent"
        )
    return "goal", name, {"lever": float(lever)}


def _milliseconds(value: Any, path: tuple[Any, ...], lines: Lines) -> int:
    try:
        at = value if isinstance(value, date) else datetime.fromisoformat(value)
        if not isinstance(at, datetime):
            at = datetime.combine(at, time())
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(to_ms(at), 0)
    except (TypeError, ValueError, OverflowError):
        raise DocumentError(
            path_text(path), f"line {lines[path]}: must be a time such as 2026-03-01T00:00:00Z"
        ) from None


def _invalid(kind: str, error: ValidationError, path: tuple[Any, ...], lines: Lines) -> DocumentError:
    first = min(error.errors(), key=lambda e: e["type"] not in _UNKNOWN)
    full = (*path, *first["loc"])
    line = next((lines[full[:end]] for end in range(len(full), 0, -1) if full[:end] in lines), 1)
    if first["type"] in _UNKNOWN:
        return DocumentError(path_text(full), f"line {line}: there is no {full[-1]!r} here")
    message = "is needed" if first["type"] == "missing" else str(first["msg"])
    return DocumentError(path_text(full), f"line {line}: {message}")


def _unknown(path: tuple[Any, ...], lines: Lines, known: Iterable[str]) -> DocumentError:
    near = get_close_matches(str(path[-1]), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
    return DocumentError(path_text(path), f"line {lines[path]}: there is no {path[-1]!r}{hint}")
