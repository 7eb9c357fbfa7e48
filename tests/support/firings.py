"""Firings of triggers in tests: made to order, and taken up by workers whose clock is the test's."""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import text

from app.worker.alerting.webhook import Webhooks
from app.worker.triggers.delivering import FiringDelivery
from app.worker.triggers.sending import TriggerSender
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.log.lookup_service import decision_of
from decisioning.model.trigger import Trigger, TriggerDelivery, TriggerOn
from decisioning.triggers.decision_service import FiringDecisions
from decisioning.triggers.delivery_service import FiringService
from decisioning.triggers.firing import Firing
from decisioning.triggers.store_bell import FiringBell
from decisioning.triggers.store_delivery import FiringDeliveries
from decisioning.triggers.store_firings import insert_firings
from decisioning.triggers.store_outbox import TriggerStreams
from storage import clock
from tests.support.api import Nextbest
from tests.support.receiver import Receiver

ON = TriggerOn(event="call_dropped")


@dataclass
class World:
    """An installation with triggers, and a worker that takes firings up."""

    nextbest: Nextbest
    secrets: Any
    triggers: dict[str, Trigger] = field(default_factory=dict)
    version: int = 1
    ahead_ms: int = 0
    workers: list[FiringDelivery] = field(default_factory=list)
    webhooks: list[Webhooks] = field(default_factory=list)
    fired: int = 0

    def now_ms(self) -> int:
        """The time, which tests may let pass."""
        return clock.now_ms() + self.ahead_ms

    def worker(self, decisions: Any = None, sender: Any = None) -> FiringDelivery:
        """A worker; ``decisions`` and ``sender``: in place of the real ones."""
        state = self.nextbest.api.state
        store = FiringDeliveries(state.engine)
        profiles = CachedProfiles(state.profiles, state.numbers)
        decide = FiringDecisions(
            decisions or state.decisions,
            state.current_catalogue,
            profiles,
            store,
            self.now_ms,
            partial(decision_of, decision_log=state.decision_log, archive=state.archive),
        )
        if sender is None:
            webhooks = Webhooks(self.secrets, {"127.0.0.1"}, time.time)
            self.webhooks.append(webhooks)
            sender = TriggerSender(webhooks, TriggerStreams(state.redis))
        service = FiringService(decide, lambda: self.triggers, sender, store, self.now_ms, lambda: 0.5)
        assert state.settings.postgres_url is not None
        bell = FiringBell(state.settings.postgres_url)
        worker = FiringDelivery(
            store, service, lambda: self.triggers, lambda: self.version, bell, self.now_ms
        )
        self.workers.append(worker)
        return worker

    async def fire(self, trigger: Trigger, customer: str, count: int = 1, within_s: int = 3600) -> list[str]:
        """Let a trigger fire for a customer; returns the ids of the firings."""
        self.triggers[trigger.trigger_id] = trigger
        now_ms = self.now_ms()
        firings = []
        for _ in range(count):
            self.fired += 1
            cause = {"event": "call_dropped", "event_id": f"e{self.fired}"}
            occasion = f"event e{self.fired}"
            firings.append(
                Firing(trigger.trigger_id, 1, customer, occasion, cause, now_ms, now_ms + within_s * 1000)
            )
        async with self.nextbest.api.state.engine.begin() as connection:
            await insert_firings(connection, firings)
            query = text("SELECT firing_id FROM trigger_firings WHERE occasion = ANY(:o)")
            rows = await connection.execute(query, {"o": [f.occasion for f in firings]})
        return [str(row.firing_id) for row in rows]

    async def read(self, firing_id: str) -> Any:
        """A firing as it is stored."""
        return await FiringDeliveries(self.nextbest.api.state.engine).find(firing_id)

    async def work(self, worker: FiringDelivery) -> None:
        """Take up what is due, and wait until it has been tried."""
        await worker.round()
        await worker.settle()

    async def close(self) -> None:
        """Stop the workers."""
        for worker in self.workers:
            await worker.close()
        for webhooks in self.webhooks:
            await webhooks.close()

    async def decisions_of(self, customer: str) -> list[dict[str, Any]]:
        """The decisions of a customer that are in the log."""
        await self.nextbest.worker.archive()
        query = text("SELECT header FROM decisions WHERE customer_id = :c ORDER BY decided_at")
        async with self.nextbest.api.state.engine.begin() as connection:
            return [row.header for row in await connection.execute(query, {"c": customer})]


def to(receiver: Receiver, placement: str = "mail", trigger_id: str = "dropped", **fields: Any) -> Trigger:
    """A trigger that tells a receiver."""
    deliver = TriggerDelivery(webhook=receiver.url, secret="triggers")
    return Trigger(trigger_id, ON, deliver, None if fields.get("channels") else placement, **fields)
