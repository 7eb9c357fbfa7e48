"""Finishes merges that were cut off, and hands over what came of decisions made for visitors."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from decisioning.catalog.catalogue import Catalogue
from decisioning.merging.merge_service import BATCH_SIZE, MergeService
from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_events import MarkedEvents
from decisioning.merging.store_handover import Handover
from profiles.store_cache import ProfileCache
from storage import clock

INTERVAL_S = 1.0


@dataclass
class MergeJob:
    """Any number may run: each step of a merge takes effect once."""

    aliases: AliasStore
    profiles: ProfileCache
    handover: Handover
    events: MarkedEvents
    load_catalogue: Callable[[Catalogue | None], Awaitable[Catalogue]]
    _catalogue: Catalogue | None = field(default=None, init=False)

    async def round(self) -> float:
        """Finish what is unfinished; return how long to sleep. Raises ``Unavailable``."""
        catalogue = self._catalogue = await self.load_catalogue(self._catalogue)
        service = MergeService(
            self.aliases, self.profiles, self.handover, self.events, lambda: catalogue, clock.now_ms
        )
        return 0.0 if await service.finish() >= BATCH_SIZE else INTERVAL_S
