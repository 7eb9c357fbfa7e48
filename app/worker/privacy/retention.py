"""Retention: once an hour, what is older than it may be is removed."""

from dataclasses import dataclass

from decisioning.catalog.store import CatalogueStore
from decisioning.privacy.store_retention import Retention
from storage import clock

INTERVAL_S = 3600.0
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class RetentionJob:
    """Removes what is too old by the settings, and events by what their types say."""

    retention: Retention
    catalogues: CatalogueStore

    async def round(self) -> float:
        """Remove what is too old; return how long to sleep. Raises ``PostgresUnavailable``."""
        await self.enforce()
        return INTERVAL_S

    async def enforce(self) -> int:
        """Remove what is too old; return how many entries say what it was."""
        catalogue = await self.catalogues.load()
        days = await self.retention.event_days()
        windows_s = (placement.reward_window_s for placement in catalogue.placements.values())
        # A decision that waits for outcomes stays, however short the limit is.
        least = max(windows_s, default=0) // DAY_S + 2
        return await self.retention.enforce(clock.to_datetime(clock.now_ms()), days, least)
