"""Finds what a replacement would take away from a thing in use: consent, rules, limits, capacity and the like."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kind import TIMES, Kind, Protective
from decisioning.catalog.kinds import GOAL, GROUP, OFFER
from decisioning.errors import UnconfirmedRemoval
from decisioning.model.entities import Demands, Offer, inherit
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

    Nothing is lost where there was nothing, by a deletion, where the thing was not in use, and where it is over now. A
    field is lost when it has its default again, and an item of a list when it is not there any more.
    """
    if before is None or after is None or not kind.protective:
        return []
    if not kind.in_use(kind.load(name, before)) or kind.is_over(kind.load(name, after)):
        return []
    old, new = kind.normalise(name, before), kind.normalise(name, after)
    found = []
    for protective in kind.protective:
        items = tuple(_lost(protective, old.get(protective.field), new.get(protective.field)))
        if items:
            found.append(Loss(protective.shown, protective.word, items))
    return found


def inherited_losses(
    kind: Kind[Any],
    name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    catalogue: Catalogue,
) -> list[Loss]:
    """Return what offers in use inherit no more: by another group or goal, or since a goal is deleted.

    ``before`` and ``after`` are stored bodies of the one thing that changes, ``catalogue`` is that after the change.
    What a thing that stays demands itself is for ``losses_between``. A rule is lost when no demand on the offer has
    its condition, a limit when none is as strict within the same window, and consent when none is to the same purpose.
    """
    if before is None or kind not in (OFFER, GROUP, GOAL) or (kind is OFFER and after is None):
        return []
    old = kind.load(name, before)
    groups = {**catalogue.groups, name: old} if kind is GROUP else catalogue.groups
    goals = {**catalogue.goals, name: old} if kind is GOAL else catalogue.goals
    lost: dict[tuple[str, str], dict[str, None]] = {}
    for offer in [old] if kind is OFFER else catalogue.offers.values():
        now = catalogue.offers[offer.offer_id]
        if not OFFER.in_use(offer) or OFFER.is_over(now):
            continue
        group = groups[offer.group]
        was = inherit(replace(offer, inherited=()), group, goals.get(group.goal))
        for demands in was.inherited:
            if after is None or demands.source != f"{kind.name} {name}":
                for field, word, item in _not_demanded(demands, now):
                    lost.setdefault((field, word), {})[f"{item} of {demands.source}"] = None
    return [Loss(field, word, tuple(items)) for (field, word), items in lost.items()]


def _not_demanded(before: Demands, offer: Offer) -> Iterator[tuple[str, str, str]]:
    """Yield what nothing demands of the offer any more: field, word that confirms it, and name."""
    bases = {d.legal_basis for d in offer.demands if d.requires_consent == before.requires_consent}
    if before.requires_consent is not None:
        if not bases:
            yield "requires_consent", "consent", repr(before.requires_consent)
        elif before.legal_basis == "consent" and "consent" not in bases:
            yield "legal_basis", "legal_basis", repr(before.legal_basis)
    conditions = {rule.when for demands in offer.demands for rule in demands.rules}
    for rule in before.rules:
        if rule.when not in conditions:
            yield "rules", "rules", repr(rule.name)
    limits = [limit for demands in offer.demands for limit in demands.contact_limits]
    for limit in before.contact_limits:
        if not any(other.window_s == limit.window_s and other.max <= limit.max for other in limits):
            yield "contact_limits", "limits", f"{limit.max} in {limit.window_s} s"


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
        f"{what} would lose {named}. Nothing was changed: PATCH changes only what it names; to replace or delete it"
        f" all the same, send If-Match with the ETag that was read, and ?confirm_removal={words}",
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
