"""Reports on a hold-out: finds since when it has held out the same customers, and compares them with all others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from decisioning.aggregates.checks import check_event_number
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kinds import EVENT, HOLDOUT
from decisioning.catalog.store import CatalogueStore, Trail
from decisioning.errors import NotFound
from decisioning.holdouts.holdout import HoldoutEvent
from decisioning.reporting.holdout_report import (
    OUTCOMES,
    HoldoutDimension,
    Part,
    Revision,
    Sides,
    Span,
    in_force_within,
    others_excluded,
    part_rows,
    side_figures,
    span_of,
)
from storage.clock import to_iso, to_ms

MAX_REVISIONS = 1000


class CountSides(Protocol):
    """Sums up the customers within a span, treated and held out from a hold-out, without those of other hold-outs."""

    async def __call__(
        self,
        holdout_id: str,
        excluded: Sequence[str],
        span: Span,
        events: Sequence[HoldoutEvent],
        by: HoldoutDimension | None,
        zone: str,
    ) -> tuple[Sides, Mapping[Part, Sides]]:
        """Return both sides, and with ``by`` those of each of its values; ``zone``: of days."""


@dataclass(frozen=True, slots=True)
class HoldoutReports:
    """Reports on hold-outs, from the archived log."""

    count_sides: CountSides
    catalogues: CatalogueStore
    clock_ms: Callable[[], int]

    async def report(
        self,
        live: Catalogue,
        holdout_id: str,
        since: datetime | None,
        until: datetime | None,
        events: Sequence[HoldoutEvent] | None,
        by: HoldoutDimension | None = None,
        zone: str = "UTC",
    ) -> dict[str, Any]:
        """Report on a hold-out from ``since`` to before ``until``; ``events``: its own if ``None``.

        ``by``: what the customers are divided by, with a row for each part; ``zone``: of its days.

        Raises ``NotFound`` if there is no such hold-out, ``Invalid`` for events that nobody declared or if it takes too
        long, and ``PostgresUnavailable``.
        """
        for counted in events or ():
            things = {EVENT.section: live.event_types}
            for error in check_event_number("event.", counted.event, counted.property, things):
                raise error
        trail = await self.catalogues.trail(kind=HOLDOUT.name, name=holdout_id, limit=MAX_REVISIONS)
        revisions = [_revision(one) for one in trail]
        since_ms, until_ms = (None if at is None else to_ms(at) for at in (since, until))
        span = span_of(revisions, since_ms, until_ms, self.clock_ms())
        holdout = revisions[0].holdout if revisions else None
        if span is None or holdout is None:
            raise NotFound(HOLDOUT.name, holdout_id)
        asked = holdout.events if events is None else events
        everything = await self.catalogues.trail(kind=HOLDOUT.name, limit=MAX_REVISIONS)
        ever = in_force_within(map(_revision, everything), span)
        excluded = others_excluded(holdout, [*live.holdouts.values(), *ever])
        sides, parts = await self.count_sides(holdout_id, excluded, span, asked, by, zone)
        measures = [*OUTCOMES, *(counted.label() for counted in asked)]
        found = {
            "holdout": holdout_id,
            "name": holdout.name,
            "goal": holdout.goal,
            "share": holdout.share,
            "counted_from": to_iso(span.start_ms),
            "counted_to": to_iso(span.stop_ms),
            "excluded": excluded,
        } | side_figures(sides, holdout.share, measures, span)
        if by is not None:
            found |= {"by": by, "rows": part_rows(parts, by, holdout.share, measures, span)}
        return found


def _revision(one: Trail) -> Revision:
    holdout = None if one.after is None else HOLDOUT.load(one.name, one.after)
    return Revision(one.version, to_ms(one.changed_at), holdout, one.name)
