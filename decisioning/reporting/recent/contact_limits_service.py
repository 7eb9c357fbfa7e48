"""Says how many customers are at a contact limit now: of a sample of all of them."""

import asyncio
from dataclasses import dataclass

from decisioning.catalog.catalogue import Catalogue
from decisioning.evaluation.simulation_service import SimulationService
from decisioning.reporting.recent.contact_limits import AtLimits, count_at_limits


@dataclass(frozen=True, slots=True)
class ContactLimitsService:
    """Looks at the contacts of a sample of the customers. Nothing is reserved, logged or learned."""

    simulations: SimulationService

    async def now(self, catalogue: Catalogue, size: int) -> tuple[AtLimits, int]:
        """Look at ``size`` customers at most; returns the counts, and how many customers there are.

        Customers whose contacts cannot be read are not looked at. Raises ``Invalid`` if it takes too long,
        ``PostgresUnavailable``.
        """
        profiles, total = await self.simulations.sample(None, size)
        subjects = await self.simulations.subjects(profiles, contacts=True, events=False)
        known = [subject for subject in subjects if not subject.unread]
        found = await asyncio.to_thread(
            count_at_limits, catalogue, known, self.simulations.clock_ms(), self.simulations.time_limit()
        )
        return found, total
