"""Differences between two catalogues: for people (paths, before, after), and as entries to be applied."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import KINDS, section_path


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that differs; ``None`` where it is not there, or has its default."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path}: {self.after!r}"
        if self.after is None:
            return f"- {self.path}: {self.before!r}"
        return f"~ {self.path}: {self.before!r} -> {self.after!r}"


def changes_between(current: Iterable[Entry], wanted: Iterable[Entry]) -> list[Entry]:
    """Return the entries that make ``current`` into ``wanted``, in an order in which they can be applied."""
    now, then = _bodies(current), _bodies(wanted)
    changed: list[Entry] = [
        (kind, name, body) for (kind, name), body in sorted(then.items()) if now.get((kind, name)) != body
    ]
    return changed + [(kind, name, None) for kind, name in sorted(now) if (kind, name) not in then]


def with_kept(current: Iterable[Entry], wanted: Iterable[Entry]) -> list[Entry]:
    """Return ``wanted``, and what it lacks of ``current``: the catalogue that it makes if it deletes nothing."""
    named = [entry for entry in wanted if entry[2] is not None]
    names = {(kind, name) for kind, name, _ in named}
    return named + [entry for entry in current if entry[:2] not in names]


def differences(before: Iterable[Entry], after: Iterable[Entry]) -> list[Difference]:
    """Compare two catalogues value by value; sorted by path."""
    old, new = _bodies(before), _bodies(after)
    found: list[Difference] = []
    for key in sorted(old.keys() | new.keys()):
        path = section_path(KINDS[key[0]], key[1])
        left, right = old.get(key), new.get(key)
        if left is None or right is None:
            if left != right:
                found.append(Difference(path, left, right))
            continue
        found += _compare(path, left, right)
    return found


def _bodies(entries: Iterable[Entry]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (kind, name): KINDS[kind].normalise(name, body) for kind, name, body in entries if body is not None
    }


def _compare(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            yield from _compare(f"{path}.{name}", before.get(name), after.get(name))
    elif before != after:
        yield Difference(path, before, after)
