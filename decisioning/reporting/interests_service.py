"""The interests of customers, over a sample of all of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from decisioning.catalog.catalogue import Catalogue
from decisioning.evaluation.simulation import CheckTime, Subject
from decisioning.evaluation.simulation_service import SimulationService


@dataclass(frozen=True, slots=True)
class ConceptTotal:
    """A concept over some customers: how many have a score, these together, and the share of all scores."""

    concept: str
    name: str
    customers: int
    total: float
    share: float


@dataclass(frozen=True, slots=True)
class InterestsService:
    """Adds up the interests of customers."""

    simulations: SimulationService

    async def over_all(self, catalogue: Catalogue, size: int) -> tuple[list[ConceptTotal], int, int]:
        """Add up what is read of at most ``size`` customers, the greatest total first.

        Returns the totals, how many customers were looked at, and how many there are. Customers whose events cannot be
        read are not looked at. Raises ``Invalid`` if it takes too long.
        """
        profiles, total = await self.simulations.sample(None, size)
        subjects = await self.simulations.subjects(profiles, contacts=False, events=True)
        known = [subject for subject in subjects if subject.events is not None]
        totals = await asyncio.to_thread(
            _add_up, catalogue, known, self.simulations.clock_ms(), self.simulations.time_limit()
        )
        return totals, len(known), total


def _add_up(
    catalogue: Catalogue, subjects: Sequence[Subject], now_ms: int, check_time: CheckTime
) -> list[ConceptTotal]:
    scores: dict[str, list[float]] = {concept: [] for concept in catalogue.concepts}
    for done, subject in enumerate(subjects):
        check_time(done)
        for concept, score in subject.told(catalogue, now_ms).interests.items():
            if score > 0:
                scores[concept].append(score)
    everything = sum(map(sum, scores.values()))
    totals = [
        ConceptTotal(
            concept,
            catalogue.concepts[concept].name,
            len(found),
            sum(found),
            sum(found) / everything if everything else 0.0,
        )
        for concept, found in scores.items()
    ]
    return sorted(totals, key=lambda one: (-one.total, one.concept))
