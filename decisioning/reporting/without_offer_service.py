"""Finds customers left without any offer: among a sample of the customers, or in the decisions of the last day."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import NotFound
from decisioning.evaluation.replay_service import logged_inputs
from decisioning.evaluation.simulation import CheckTime
from decisioning.evaluation.simulation_service import SimulationService
from decisioning.model.decision import LoggedDecision
from decisioning.reporting.store_last_day import LastDay
from decisioning.reporting.without_offer import EmptyCounts


@dataclass(frozen=True, slots=True)
class WithoutOfferService:
    """Finds who has nothing to be offered, and why. Nothing is reserved, logged or learned."""

    simulations: SimulationService
    catalogues: CatalogueStore
    last_day: LastDay

    async def of_sample(
        self, live: Catalogue, placement_id: str, context: Mapping[str, Any], size: int
    ) -> dict[str, Any]:
        """Look at a sample of the customers, with the catalogue in force, as ``SimulationService.run_sample``."""
        counts = EmptyCounts()
        found, looked_at, total = await self.simulations.run_sample(
            live, placement_id, context, size, counts.add
        )
        report = counts.report(looked_at, found["without_offer"])
        return report | {"funnel": found["funnel"], "customers": total}

    async def of_last_day(self, live: Catalogue, placement_id: str, size: int) -> dict[str, Any]:
        """Look at the decisions of the last 24 hours, and explain the newest ``size`` that had nothing.

        They are explained as they were, from the log. Raises ``NotFound`` if there is no such placement, ``Invalid``
        if it takes too long, ``PostgresUnavailable``.
        """
        live.view(placement_id)
        decisions, empty, logged = await self.last_day.without_offer(placement_id, size)
        counts = EmptyCounts()
        check_time = self.simulations.time_limit()
        by_version: dict[int, list[LoggedDecision]] = {}
        for one in logged:
            by_version.setdefault(one.decision.catalog_version, []).append(one)
        for version, some in by_version.items():
            catalogue = await self.catalogues.load(version)
            await asyncio.to_thread(_count, counts, catalogue, some, check_time)
        return counts.report(decisions, empty) | {"funnel": None, "customers": None}


def _count(
    counts: EmptyCounts, catalogue: Catalogue, logged: Sequence[LoggedDecision], check_time: CheckTime
) -> None:
    for one in logged:
        check_time(counts.empty)
        if one.decision.erased:  # nobody can tell any more what stopped the offers
            continue
        try:
            view = catalogue.view(one.decision.placement)
        except NotFound:  # it decided just before the placement was there in this version
            continue
        counts.add(logged_inputs(catalogue, view, one))
