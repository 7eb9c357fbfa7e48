"""Summary of what a file does to a catalogue, by names: what is added, changed, deleted, and what it leaves alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decisioning.catalog.checking.losses import losses_between
from decisioning.catalog.diff import Difference, changes_between, differences, with_kept
from decisioning.catalog.kind import TIMES, Entry
from decisioning.catalog.kinds import KINDS, section_path


@dataclass(frozen=True, slots=True)
class ChangedThing:
    """A thing that is changed: its path, the fields that differ, and what is lost of those that protect."""

    path: str
    fields: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Paths of what is added and deleted, what is changed, and what stays although the file does not have it."""

    added: tuple[str, ...] = ()
    changed: tuple[ChangedThing, ...] = ()
    deleted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield it as text, one line for each count, and one for each thing that is changed."""
        if self.added:
            yield f"{len(self.added)} added: {', '.join(self.added)}"
        if self.changed:
            yield f"{len(self.changed)} changed: {', '.join(thing.path for thing in self.changed)}"
        for thing in self.changed:
            yield f"    {thing.path}: {', '.join(thing.fields)}"
            for lost in thing.lost:
                yield f"    ! {thing.path} loses {lost}"
        if self.deleted:
            yield f"{len(self.deleted)} deleted: {', '.join(self.deleted)}"
        if self.kept:
            yield f"{len(self.kept)} kept, not in the file (--delete deletes): {', '.join(self.kept)}"


@dataclass(frozen=True, slots=True)
class Application:
    """The application of a file to a catalogue: the entries to be appended, value by value, and by names."""

    changes: list[Entry]
    differences: list[Difference]
    summary: Summary


def plan_application(current: Sequence[Entry], wanted: Sequence[Entry], *, delete: bool) -> Application:
    """Compare a file with a catalogue. What the file does not have is deleted if ``delete``, or else stays."""
    target = list(wanted) if delete else with_kept(current, wanted)
    changes = changes_between(current, target)
    before = {(kind, name): body for kind, name, body in current if body is not None}
    named = {(kind, name) for kind, name, body in wanted if body is not None}
    added, changed, deleted = [], [], []
    for kind, name, body in changes:
        path = section_path(KINDS[kind], name)
        if body is None:
            deleted.append(path)
        elif (kind, name) not in before:
            added.append(path)
        else:
            old, new = (KINDS[kind].normalise(name, some) for some in (before[kind, name], body))
            fields = sorted(field for field in old.keys() | new.keys() if old.get(field) != new.get(field))
            lost = losses_between(KINDS[kind], name, before[kind, name], body)
            shown = tuple(TIMES.get(field, field) for field in fields)
            changed.append(ChangedThing(path, shown, tuple(map(str, lost))))
    kept = (
        ()
        if delete
        else tuple(section_path(KINDS[kind], name) for kind, name in sorted(before.keys() - named))
    )
    summary = Summary(tuple(added), tuple(changed), tuple(deleted), kept)
    return Application(changes, differences(current, target), summary)
