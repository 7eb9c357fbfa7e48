"""The job that takes up firings of triggers: each is decided and delivered in a task of its own."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from decisioning.model.trigger import Trigger
from decisioning.triggers.delivery import OpenFiring, plan_of
from decisioning.triggers.delivery_service import FiringService
from decisioning.triggers.store_bell import FiringBell
from decisioning.triggers.store_delivery import FiringDeliveries
from storage.errors import Unavailable
from storage.failures import FailureLog

log = logging.getLogger(__name__)

MAX_AT_ONCE = 32
"""Firings of one destination that are decided and sent at a time: a slow receiver holds up no other one."""
LOOK_S = 1.0
"""Firings that are tried again, or whose worker died, are looked for so often."""
REST_S = 0.005
"""Between two looks, so that what comes one by one is taken up together."""
SHORT_LOOK_S = 0.05
"""The same, while triggers wait for their turn at places of a destination that they share."""
DROP_EVERY_S = 10.0


@dataclass
class FiringDelivery:
    """Takes up what is due of the triggers in the catalogue, of which ``version`` tells the version.

    Any number of workers may.
    """

    store: FiringDeliveries
    service: FiringService
    triggers: Callable[[], Mapping[str, Trigger]]
    version: Callable[[], int]
    bell: FiringBell
    clock_ms: Callable[[], int]
    on_dropped: Callable[[str], None] = lambda _: None
    _at_work: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _in_flight: Counter[str] = field(default_factory=Counter, init=False)
    _full: set[str] = field(default_factory=set, init=False)
    _turns: Counter[str] = field(default_factory=Counter, init=False)
    _turned_away: bool = field(default=False, init=False)
    _failures: FailureLog = field(default_factory=lambda: FailureLog(log), init=False)
    _drop_at_s: float = field(default=0.0, init=False)

    async def round(self) -> float:
        """Take up what is due, or wait for something; return how long to sleep. Raises ``PostgresUnavailable``."""
        await self._drop_undeclared()
        rooms = self._rooms()
        firings = await self.take_up(rooms) if rooms else []
        for firing in firings:
            self._begin(firing)
        if not firings:
            await self.bell.wait(SHORT_LOOK_S if self._turned_away else LOOK_S)
        return REST_S

    async def take_up(self, rooms: Mapping[str, int]) -> list[OpenFiring]:
        """Take up what is due, at most so many firings of each trigger. Raises ``PostgresUnavailable``."""
        triggers = self.triggers()
        plans = {name: plan_of(triggers[name]) for name in rooms if name in triggers}
        return await self.store.claim(rooms, plans, self.clock_ms())

    async def settle(self) -> None:
        """Wait until all that were taken up have been tried."""
        while self._at_work:
            await asyncio.wait(self._at_work)

    async def close(self) -> None:
        """Stop at once: another worker takes up what is not done."""
        for task in self._at_work:
            task.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        await self.bell.close()

    async def _drop_undeclared(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._drop_at_s:
            return
        version = self.version()  # before the triggers, which may then be newer, but not older
        for trigger_id in await self.store.drop_undeclared(list(self.triggers()), version, self.clock_ms()):
            self.on_dropped(trigger_id)
        self._drop_at_s = now_s + DROP_EVERY_S

    def _rooms(self) -> dict[str, int]:
        """Compute how many firings of each trigger may be taken up; those of one destination share its room.

        Where there are more of them than places, they have one in turn.
        """
        sharing: dict[str, list[str]] = {}
        for trigger_id, trigger in self.triggers().items():
            sharing.setdefault(destination_of(trigger), []).append(trigger_id)
        rooms = {}
        self._full.clear()
        self._turned_away = False
        for destination, names in sharing.items():
            room = MAX_AT_ONCE - self._in_flight[destination]
            if room <= 0:
                self._full.add(destination)
                continue
            each, over = divmod(room, len(names))
            first = self._turns[destination] % len(names)
            for place, name in enumerate(names[first:] + names[:first]):
                if mine := each + (place < over):
                    rooms[name] = mine
            self._turns[destination] = first + over
            self._turned_away |= each == 0
        return rooms

    def _begin(self, firing: OpenFiring) -> None:
        trigger = self.triggers().get(firing.trigger_id)
        destination = "" if trigger is None else destination_of(trigger)
        self._in_flight[destination] += 1
        task = asyncio.create_task(self._bring_forward(firing))
        self._at_work.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._at_work.discard(ended)
            self._in_flight[destination] -= 1
            if destination in self._full:
                self.bell.ring()  # there is room again

        task.add_done_callback(done)

    async def _bring_forward(self, firing: OpenFiring) -> None:
        try:
            await self.service.bring_forward(firing)
            self._failures.recovered("keeping firings")
        except Unavailable as error:  # it is taken up again when its lease has ended
            self._failures.note("keeping firings", "firings wait: %s", error, error=error)


def destination_of(trigger: Trigger) -> str:
    """Return what a trigger's deliveries go to: a webhook's address, or a stream."""
    to = trigger.deliver
    return f"stream {to.stream}" if to.webhook is None else to.webhook
