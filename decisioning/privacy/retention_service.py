"""Retention by the settings and the catalogue: nothing goes that limits, rules or aggregates still look back on."""

from contextlib import suppress
from dataclasses import dataclass

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import Busy
from decisioning.events.store_events import REMEMBER_MS
from decisioning.privacy.store_retention import Removed, Retention
from storage import clock
from storage.clock import DAY_MS


@dataclass(frozen=True, slots=True)
class RetentionService:
    """Removes what is too old by the settings, and events by what their types say."""

    retention: Retention
    catalogues: CatalogueStore

    async def enforce(self) -> int:
        """Remove what is too old, unless others do; return how many entries say so. Raises ``PostgresUnavailable``."""
        found: list[Removed] = []
        with suppress(Busy):
            await self.run(found, dry=False)
        return len(found)

    async def run(self, found: list[Removed], *, dry: bool) -> None:
        """Remove what is too old, or only look for it (``dry``). ``found``: gets what it is, also when this raises.

        Raises ``Busy`` if somebody else is removing, and ``PostgresUnavailable``.
        """
        catalogue = await self.catalogues.load()
        days = {
            name: max(most, least_days_of(catalogue, name)) if name in catalogue.event_types else most
            for name, most in (await self.retention.event_days()).items()
        }
        of_events = (least_days_of(catalogue, name) for name in catalogue.event_types)
        least = {
            "log": least_days_of_log(catalogue),
            "events": max(of_events, default=EVENT_IDS_DAYS),
            "triggers": least_days_of_triggers(catalogue),
        }
        await self.retention.run(clock.to_datetime(clock.now_ms()), days, least, found, dry=dry)


def least_days_of_log(catalogue: Catalogue) -> int:
    """Return for how long decisions matter: while they wait for outcomes, and while limits and rules look back."""
    windows_ms = (placement.reward_window_s * 1000 for placement in catalogue.placements.values())
    return max(*windows_ms, catalogue.history_ms, 0) // DAY_MS + 2


def least_days_of_triggers(catalogue: Catalogue) -> int:
    """Return for how long firings matter: until they may fire again, and while what was missed is looked for."""
    times_s = (max(t.again_after_s, t.within_s) for t in catalogue.triggers.values())
    return days_up(max(times_s, default=0) * 1000) + 1


def least_days_of(catalogue: Catalogue, event_type: str) -> int:
    """Return for how long events of a type matter: their ids, aggregates over them, waits of triggers, and contacts.

    A lost Redis gets these back from the archive. What is remembered of the last event matters for ever, and is not
    waited for.
    """
    windows_ms = [
        one.tile_ms * one.keep
        for one in catalogue.event_definitions.contributions.get(event_type, ())
        if one.keep > 1
    ]
    windows_ms += [
        (on.after_s or 0) * 1000
        for on in (trigger.on for trigger in catalogue.triggers.values())
        if event_type in (on.event, *on.idle, *on.unless)
    ]
    if catalogue.event_types[event_type].contact is not None:
        windows_ms.append(catalogue.history_ms)
    return max(EVENT_IDS_DAYS, *(days_up(window_ms) for window_ms in windows_ms), 0)


def days_up(ms: int) -> int:
    """Return how many days a time takes, the last one begun."""
    return -(-ms // DAY_MS)


EVENT_IDS_DAYS = days_up(REMEMBER_MS)
"""For how long an event that is sent again must be known."""
