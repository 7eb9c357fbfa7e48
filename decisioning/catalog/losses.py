"""What a replacement would take away from a thing in use: consent, rules, limits, capacity and the like."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from decisioning.catalog.kind import TIMES, Kind, Protective
from decisioning.errors import UnconfirmedRemoval
from storage.clock import to_datetime


@dataclass(frozen=True, slots=True)
class Loss:
    """A protective field that is dropped, or of which a part is. ``word`` confirms it; ``items`` name what is lost."""

    field: str
    word: str
    items: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.field}: {', '.join(self.items)}"


def losses_between(
    kind: Kind[Any], name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[Loss]:
    """Return what ``after`` lacks of the protective fields of ``before``, both stored bodies.

    Nothing is lost where there was nothing, by a deletion, and where the thing was not in use or is not any more. A
    field is lost when it has its default again, and an item of a list when it is not there any more.
    """
    if before is None or after is None or not kind.protective:
        return []
    if not (kind.in_use(kind.load(name, before)) and kind.in_use(kind.load(name, after))):
        return []
    old, new = kind.normalise(name, before), kind.normalise(name, after)
    found = []
    for protective in kind.protective:
        items = tuple(_lost(protective, old.get(protective.field), new.get(protective.field)))
        if items:
            found.append(Loss(protective.shown, protective.word, items))
    return found


def check_confirmed(
    what: str, losses: Collection[Loss], confirmed: Collection[str], *, version_is_known: bool
) -> None:
    """Raise ``UnconfirmedRemoval`` unless each of the losses of ``what`` is confirmed, by its word or its field.

    ``version_is_known``: the editor said which version is replaced; without that, nothing is confirmed.
    """
    missing = [loss for loss in losses if not {loss.word, loss.field} & set(confirmed)]
    if not losses or (not missing and version_is_known):
        return
    words = ",".join(dict.fromkeys(loss.word for loss in losses))
    named = "; ".join(map(str, missing or losses))
    raise UnconfirmedRemoval(
        f"{what} would lose {named}. Nothing was changed: PATCH changes only what it names; to replace it as a whole,"
        f" send If-Match with the ETag that was read, and ?confirm_removal={words}",
        [(loss.field, f"would lose {', '.join(loss.items)}") for loss in missing or losses],
    )


def _lost(protective: Protective, before: Any, after: Any) -> Iterator[str]:
    """Yield what ``after`` lacks of ``before``, both without defaults, in words."""
    if before is None:
        return
    if not isinstance(before, list):
        if after is None:
            yield _name(protective, before)
        return
    left = after or []
    for item in before:
        if not any(_same(protective, item, other) for other in left):
            yield _name(protective, item)


def _same(protective: Protective, item: Any, other: Any) -> bool:
    if not protective.keys:
        return bool(item == other)
    return any(all(item.get(field) == other.get(field) for field in key) for key in protective.keys)


def _name(protective: Protective, item: Any) -> str:
    """Return what an item is called: its name or else all of it, without what has its default."""
    if isinstance(item, Mapping):
        return repr(item["name"]) if "name" in item else str(dict(item))
    if protective.field in TIMES:
        return to_datetime(item).isoformat()
    return repr(item)
