"""Change sets beside what others have changed since: overlaps, a three-way merge of fields, and inverses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from decisioning.catalog.checks import Mistake
from decisioning.catalog.diff import Difference, changes_between, differences
from decisioning.catalog.kind import TIMES, Entry
from decisioning.catalog.kinds import KINDS, OFFER, TREATMENT, section_path
from decisioning.catalog.summary import Application, plan_application
from decisioning.errors import MissingThing, Overtaken

Bodies = Mapping[tuple[str, str], Mapping[str, Any]]
"""The bodies of the things that there are in a version of the catalogue, by kind and id."""
Keep = Literal["mine", "theirs"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """A thing that others have changed since the base of a change set that changes it too, and how they did."""

    kind: str
    name: str
    theirs: tuple[Difference, ...]

    @property
    def path(self) -> str:
        """The path of the thing."""
        return section_path(KINDS[self.kind], self.name)


def find_overlaps(base: Bodies, now: Bodies, items: Iterable[Entry]) -> list[Overlap]:
    """Find what items change that others changed as well, and otherwise, between ``base`` and ``now``.

    That may be treatments of an offer that is deleted, which are no items.
    """
    found = []
    for key, body in _with_treatments(now, items).items():
        kind, name = key
        theirs = differences([(kind, name, base.get(key))], [(kind, name, now.get(key))])
        if theirs and differences([(kind, name, now.get(key))], [(kind, name, body)]):
            found.append(Overlap(kind, name, tuple(theirs)))
    return found


def refuse_overlaps(overlaps: Sequence[Overlap], way_out: str) -> None:
    """Raise ``Overtaken``, with all things by name, if there are any."""
    if overlaps:
        things = [(overlap.path, "; ".join(map(str, overlap.theirs))) for overlap in overlaps]
        named = ", ".join(path for path, _ in things)
        raise Overtaken(f"others have changed {named} meanwhile: {way_out}", things)


def due_changes(now: Bodies, items: Iterable[Entry]) -> list[Entry]:
    """Return the entries by which items change a catalogue; with an offer that is deleted go its treatments."""
    wanted = _with_treatments(now, items)
    entries = [(*key, body) for key, body in wanted.items()]
    return changes_between([(*key, now[key]) for key in wanted if key in now], entries_of(entries))


def _with_treatments(now: Bodies, items: Iterable[Entry]) -> dict[tuple[str, str], Mapping[str, Any] | None]:
    """Return the bodies of items, and before them the treatments that go with an offer that is deleted."""
    own = {(kind, name): body for kind, name, body in items}
    deleted = {name for (kind, name), body in own.items() if kind == OFFER.name and body is None}
    gone = (key for key in now if key[0] == TREATMENT.name and key[1].partition("/")[0] in deleted)
    return dict.fromkeys(gone) | own


def entries_of(entries: Iterable[Entry]) -> list[Entry]:
    """Leave out what is deleted."""
    return [entry for entry in entries if entry[2] is not None]


def plan_changes(now: Bodies, items: Iterable[Entry]) -> Application:
    """Compare the catalogue with what items make of it: value by value, and by names."""
    changes = due_changes(now, items)
    current = [(kind, name, now[kind, name]) for kind, name, _ in changes if (kind, name) in now]
    return plan_application(current, entries_of(changes), delete=True)


def orphans(now: Bodies, changes: Sequence[Entry]) -> Iterator[Mistake]:
    """Yield the treatments among changes that would have no offer."""
    offers = {name for kind, name in now if kind == OFFER.name}
    offers |= {name for kind, name, body in changes if kind == OFFER.name and body is not None}
    offers -= {name for kind, name, body in changes if kind == OFFER.name and body is None}
    for kind, name, body in changes:
        offer_id = name.partition("/")[0]
        if kind == TREATMENT.name and body is not None and offer_id not in offers:
            error = MissingThing("offer", OFFER.name, offer_id, "add it to the change set")
            yield Mistake(kind, name, error)


def inverse_items(before: Iterable[Entry], after: Iterable[Entry]) -> list[Entry]:
    """Return the items that take back what made the catalogue ``after`` of that ``before``."""
    return changes_between(after, before)


def rebase_items(base: Bodies, now: Bodies, items: Iterable[Entry], keep: Keep | None) -> list[Entry]:
    """Bring items from ``base`` to ``now``: what others changed as well gets their fields, and those of the items.

    ``keep``: whose value a field gets that both changed, and whose thing stays that either deleted; an offer stays with
    a treatment. Without it, raises ``Overtaken`` with all of these. Items that change nothing any more are left out.
    """
    items = list(items)
    own = {item[:2] for item in items}
    found: list[Entry] = []
    # Treatments that are no items, and that others changed, of offers that are deleted.
    deleted = [item for item in items if item[2] is None]
    beside = [one for one in find_overlaps(base, now, deleted) if (one.kind, one.name) not in own]
    contested = [(one.path, "others have changed it, and its offer is deleted") for one in beside]
    kept = {one.name.partition("/")[0] for one in beside} if keep == "theirs" else ()
    for kind, name, body in items:
        key = kind, name
        if kind == OFFER.name and name in kept:
            continue
        was, theirs, mine = (
            None if some is None else KINDS[kind].normalise(name, some)
            for some in (base.get(key), now.get(key), body)
        )
        merged = mine
        if theirs != was and theirs != mine:
            path = section_path(KINDS[kind], name)
            if was is None or theirs is None or mine is None:
                contested.append((path, "is not there on one of the sides"))
                merged = theirs if keep == "theirs" else mine
            else:
                merged, fields = _merge(was, theirs, mine, keep)
                contested += [(f"{path}.{TIMES.get(field, field)}", "both changed it") for field in fields]
        if merged != theirs:
            found.append((kind, name, merged))
    if contested and keep is None:
        named = ", ".join(path for path, _ in contested)
        raise Overtaken(
            f"both sides have changed {named}: say whose to keep, with keep 'mine' or 'theirs', or edit the items",
            contested,
        )
    return found


def _merge(
    was: Mapping[str, Any], theirs: Mapping[str, Any], mine: Mapping[str, Any], keep: Keep | None
) -> tuple[dict[str, Any], list[str]]:
    """Merge two bodies that come from one, field by field; returns the fields that both changed as well."""
    merged: dict[str, Any] = {}
    contested: list[str] = []
    for field in sorted({*was, *theirs, *mine}):
        # A field that is not there has its default, which null need not be.
        old, other, own = ((field in some, some.get(field)) for some in (was, theirs, mine))
        is_contested = own not in (old, other) and other != old
        if is_contested:
            contested.append(field)
        side = theirs if own == old or (is_contested and keep == "theirs") else mine
        if field in side:
            merged[field] = side[field]
    return merged, contested
