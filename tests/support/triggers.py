"""Triggers in tests: the job that makes them fire, a round at a time, and what has fired."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from app.metrics import TRIGGERS_FIRED
from app.worker.triggers.following import TriggerJob
from app.worker.triggers.making import make_trigger_job
from decisioning.log.store_stream import ParsedEntries
from storage import clock
from tests.support.api import Nextbest
from tests.support.waiting import Deadline

STREAM = {"stream": "nb:triggered"}


class Triggers:
    """The job of an installation. ``ahead_ms``: so much it is later than it is, for the job."""

    def __init__(self, nextbest: Nextbest) -> None:
        self.nextbest = nextbest
        self.ahead_ms = 0
        self.job = self.make()

    def make(self) -> TriggerJob:
        """Make the job, as a worker that starts does."""
        state = self.nextbest.api.state
        job = make_trigger_job(
            state.engine,
            state.engine,
            state.redis,
            state.redis,
            state.keys,
            ParsedEntries(),
            state.decision_log,
        )
        later: Callable[[], int] = lambda: clock.now_ms() + self.ahead_ms  # noqa: E731
        job.follower.clock_ms = job.days.clock_ms = later
        job.catalogue_every_ms = 0
        return job

    async def declare(self, trigger_id: str, on: dict[str, Any], **fields: Any) -> None:
        """Declare a trigger, and let the job see it."""
        body = {"on": on, "placement": "home", "deliver": STREAM, "again_after_s": 0} | fields
        await self.nextbest.api.ok("PUT", f"/v1/triggers/{trigger_id}", json=body, role="ops")
        await self.follow()
        await self.settle()

    async def settle(self) -> None:
        """Let the job do all that a change of the triggers calls for."""
        while not await self.job.settle():
            pass

    async def tell(
        self, type_: str, customer_id: str, event_id: str, ago_s: float = 0, **properties: Any
    ) -> None:
        """Send an event."""
        body = {"event_id": event_id, "customer_id": customer_id, "type": type_, "properties": properties}
        body["occurred_at"] = clock.to_iso(clock.now_ms() - int(ago_s * 1000))
        await self.nextbest.api.ok("POST", "/v1/events", json=body, role="frontend")

    async def follow(self) -> int:
        """Follow the log to its end, and fire what is due; returns how many triggers fired."""
        fired, deadline = 0, Deadline("the triggers to catch up")
        while True:
            deadline.check()
            catalogue = await self.job._refresh()
            followed = await self.job.follower.follow(catalogue, self.job._plan)
            assert followed is not None
            fired += followed.fired
            if not followed.more:
                return fired

    async def look_for_days(self) -> int:
        """Fire for days that have come; returns how many firings there are more."""
        before = TRIGGERS_FIRED._value.get()
        await self.job.look_for_days()
        return int(TRIGGERS_FIRED._value.get() - before)

    async def fired(self, trigger_id: str) -> list[tuple[str, str]]:
        """Customer and occasion of all firings of a trigger, in the order of time."""
        return [(row.customer_id, row.occasion) for row in await self.rows(trigger_id)]

    async def rows(self, trigger_id: str, table: str = "trigger_firings", order: str = "fired_at") -> Any:
        """The rows of a trigger."""
        query = f"SELECT * FROM {table} WHERE trigger_id = :id ORDER BY {order}, customer_id"
        async with self.nextbest.api.state.engine.connect() as connection:
            return (await connection.execute(text(query), {"id": trigger_id})).all()
