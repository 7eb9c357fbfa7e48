"""Decisions and deliveries of triggers in a worker, which has all that a process of the API has to decide with."""

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

from app.config import ConfigError, Settings
from app.metrics import DELIVERY_SECONDS, FIRINGS
from app.state import ApiState, open_state
from app.worker.alerting.webhook import Webhooks
from app.worker.triggers.delivering import FiringDelivery
from app.worker.triggers.sending import TriggerSender
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.log.lookup_service import decision_of
from decisioning.model.trigger import Trigger
from decisioning.triggers.decision_service import FiringDecisions
from decisioning.triggers.delivery import Progress
from decisioning.triggers.delivery_service import FiringService
from decisioning.triggers.store_bell import FiringBell
from decisioning.triggers.store_delivery import FiringDeliveries
from decisioning.triggers.store_outbox import TriggerStreams
from storage import clock

LOOK_S = 2.0
"""While the catalogue has no trigger, it is looked at so often."""


@dataclass
class TriggerDeliveries:
    """Delivers what triggers call for; nothing is opened for that before the catalogue has a trigger."""

    settings: Settings
    catalogues: CatalogueStore
    deliveries: FiringDeliveries
    webhooks: Webhooks
    _catalogue: Catalogue | None = field(default=None, init=False)
    _opened: AsyncExitStack = field(default_factory=AsyncExitStack, init=False)
    _job: FiringDelivery | None = field(default=None, init=False)

    async def round(self) -> float:
        """Take up what is due; return how long to sleep. Raises ``Unavailable``."""
        if self._job is None:
            self._catalogue = await self.catalogues.load_newer(self._catalogue)
            if not self._catalogue.triggers:
                version = self._catalogue.version
                for trigger_id in await self.deliveries.drop_undeclared((), version, clock.now_ms()):
                    _count_dropped(trigger_id)
                return LOOK_S
            self._job = await self._open()
        return await self._job.round()

    async def close(self) -> None:
        """Stop at once, and give all connections back."""
        await self._opened.aclose()

    async def _open(self) -> FiringDelivery:
        if self.settings.postgres_url is None:
            raise ConfigError("set NEXTBEST_POSTGRES_URL")
        async with AsyncExitStack() as opening:
            state = await opening.enter_async_context(open_state(self.settings))
            bell = FiringBell(self.settings.postgres_url)
            job = make_delivery(state, self.webhooks, bell)
            opening.push_async_callback(job.close)
            self._opened = opening.pop_all()
        return job


def make_delivery(state: ApiState, webhooks: Webhooks, bell: FiringBell) -> FiringDelivery:
    """Make the job of a process whose decisions are made with ``state``."""

    def triggers() -> Mapping[str, Trigger]:
        return state.current_catalogue().triggers

    def version() -> int:
        return state.current_catalogue().version

    store = FiringDeliveries(state.engine)
    decisions = FiringDecisions(
        state.decisions,
        state.current_catalogue,
        CachedProfiles(state.profiles, state.numbers),
        store,
        clock.now_ms,
        partial(decision_of, decision_log=state.decision_log, archive=state.archive),
    )
    service = FiringService(
        decisions,
        triggers,
        TriggerSender(webhooks, TriggerStreams(state.redis)),
        store,
        clock.now_ms,
        random.random,
        _count,
    )
    return FiringDelivery(store, service, triggers, version, bell, clock.now_ms, _count_dropped)


def _count(progress: Progress, now_ms: int) -> None:
    status = progress.status if progress.next_attempt_ms is None else "put_off"
    FIRINGS.labels(progress.firing.trigger_id, status).inc()
    if progress.status == "delivered":
        DELIVERY_SECONDS.observe(max(0, now_ms - progress.firing.fired_at_ms) / 1000)


def _count_dropped(trigger_id: str) -> None:
    FIRINGS.labels(trigger_id, "dropped").inc()
