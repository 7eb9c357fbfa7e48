"""Says what became of an offer in the newest decisions: explained from the log, as they were."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import NotFound
from decisioning.model.decision import LoggedDecision
from decisioning.reporting.recent.offer_funnel import OfferFunnel
from decisioning.reporting.recent.store_newest import NewestDecisions, Told
from storage.clock import to_datetime

MAX_MS = 5_000
"""After so long no more decisions are explained: the answer is about those that were."""


@dataclass(frozen=True, slots=True)
class OfferFunnelService:
    """Counts what became of an offer. Nothing is reserved, logged or learned."""

    newest: NewestDecisions
    catalogues: CatalogueStore
    clock_ms: Callable[[], int]
    max_ms: int = MAX_MS

    async def of_offer(
        self, live: Catalogue, offer_id: str, placement_id: str | None, size: int
    ) -> dict[str, Any]:
        """Count over the newest ``size`` decisions of the last 24 hours at most, the newest first.

        Of one placement, or of all those whose channel the offer has a treatment for. Raises ``NotFound`` if there is
        no such offer or placement, ``PostgresUnavailable``.
        """
        placements = _placements_of(live, offer_id, placement_id)
        logged, told = await self.newest.read(placements, offer_id, size) if placements else ([], {})
        funnel = OfferFunnel(offer_id)
        ends_ms = self.clock_ms() + self.max_ms
        for version, some in groupby(logged, key=lambda one: one.decision.catalog_version):
            if self.clock_ms() > ends_ms:
                break
            catalogue = live if version == live.version else await self.catalogues.load(version)
            await asyncio.to_thread(self._count, funnel, catalogue, some, told, ends_ms)
        looked_at = logged[: funnel.sampled]
        return funnel.report() | {
            "placements": placements,
            "since": to_datetime(looked_at[-1].decision.decided_at_ms) if looked_at else None,
            "until": to_datetime(looked_at[0].decision.decided_at_ms) if looked_at else None,
            "more": len(logged) == size or funnel.sampled < len(logged),
        }

    def _count(
        self,
        funnel: OfferFunnel,
        catalogue: Catalogue,
        logged: Iterable[LoggedDecision],
        told: Told,
        ends_ms: int,
    ) -> None:
        for one in logged:
            if self.clock_ms() > ends_ms:
                return
            at = to_datetime(one.decision.decided_at_ms)
            funnel.add(catalogue, one, told.get((one.decision_id, at), ()))


def _placements_of(live: Catalogue, offer_id: str, placement_id: str | None) -> list[str]:
    """Return the placements whose decisions are looked at. Raises ``NotFound``."""
    offer = live.offers.get(offer_id)
    if offer is None:
        raise NotFound("offer", offer_id)
    if placement_id is not None:
        if placement_id not in live.placements:
            raise NotFound("placement", placement_id)
        return [placement_id]
    channels = {treatment.channel for treatment in offer.treatments}
    return sorted(placement_id for placement_id, one in live.placements.items() if one.channel in channels)
