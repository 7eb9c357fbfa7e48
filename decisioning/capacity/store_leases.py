"""Capacity reservations of this process: units taken without asking, leased from the pools in the background.

Why this never goes above a cap is argued in ``decisioning.capacity.leasing``.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from decisioning.capacity.lease import NO_RESERVATION, Lease, Reservation
from decisioning.capacity.leasing import LEASE_MS, Period, Usage, next_want, period_at
from decisioning.capacity.matching import ViewCapacities
from decisioning.capacity.store_pools import Books, CapacityLog, Grant, Pools
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.errors import DecisioningError
from decisioning.model.entities import Capacity
from decisioning.model.selection import Choice, UnitPrice
from storage.errors import RedisUnavailable, StorageError, Unavailable
from storage.failures import FailureLog
from storage.tasks import cancelled

log = logging.getLogger(__name__)

TICK_S = 0.2
MAX_IDLE_S = 1.0
"""A lease that nobody has taken from for so long is returned, since others may need its units."""
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 1.0
"""Between questions to a pool that had nothing; each pause is twice the last."""
MAX_REFILL_WAIT_S = 0.05
"""For a decision that found nothing here: a part of the time in which it must be answered."""
MAX_ATTEMPTS = 4


class LeaseHolder:
    """Holds this process' units. All methods are for the event loop that ``start`` was called on."""

    def __init__(
        self,
        pools: Pools,
        capacity_log: CapacityLog,
        catalogue: Callable[[], Catalogue],
        clock_ms: Callable[[], int],
        *,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._pools = pools
        self._log = capacity_log
        self._failures = FailureLog(log)
        self._catalogue = catalogue
        self._clock_ms = clock_ms
        self._lease_ms = lease_ms
        self._matched: dict[str, ViewCapacities] = {}
        self._current: dict[str, Lease] = {}
        self._ending: list[Lease] = []
        self._pauses: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    # -- what a decision asks

    def exhausted(self, view: PlacementView, now_ms: int) -> frozenset[int]:
        """Give the numbers of the view's offers of which nothing is left, as far as this process knows."""
        numbers, now_s = self._match(view).numbers, time.monotonic()
        return frozenset().union(*(of for capacity, of in numbers if self._is_empty(capacity, now_ms, now_s)))

    def withheld(self, view: PlacementView) -> frozenset[int]:
        """Give the numbers of the view's offers with a capacity: an answer that cannot be logged must not have them."""
        return self._match(view).all_numbers

    def prices(self, view: PlacementView, now_ms: int) -> tuple[UnitPrice, ...]:
        """Give the prices of units that are kept for value, with the numbers of the offers that need one."""
        numbers = self._match(view).numbers
        priced = [(c, of, self._lease(c, now_ms).price) for c, of in numbers if c.keep_for_value]
        return tuple(
            UnitPrice(c.capacity_id, price, c.counting == "accepted", of)
            for c, of, price in priced
            if price > 0
        )

    async def units(
        self, view: PlacementView, slots: int, now_ms: int
    ) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Count the units of capacities that have fewer than an answer of ``slots`` offers may need.

        Returns the units and the numbers of their offers. Waits a moment for more of them first: what is drawn should
        not depend on how units are spread over processes, but on whether there are any.
        """
        needs = [(c, numbers, min(slots, len(numbers))) for c, numbers in self._match(view).numbers]
        for _ in range(MAX_ATTEMPTS):
            now_s = time.monotonic()
            leases = [(self._lease(capacity, now_ms), needed) for capacity, _, needed in needs]
            lacking = [(lease, needed - lease.count_units(now_s)) for lease, needed in leases]
            refills = [self._refill(lease, now_ms, wanted) for lease, wanted in lacking if wanted > 0]
            if not refills or not any(await asyncio.gather(*refills)):
                break
        now_s = time.monotonic()  # counted anew: while some were waited for, others may have been used
        left = [(self._lease(c, now_ms).count_units(now_s), numbers, needed) for c, numbers, needed in needs]
        return tuple((units, tuple(sorted(numbers))) for units, numbers, needed in left if units < needed)

    async def take(self, view: PlacementView, choices: Sequence[Choice], now_ms: int) -> Reservation:
        """Take a unit for each capacity of each chosen offer: all, or none.

        Waits a moment for a new lease if there is nothing left here. Must be followed by ``done``.
        """
        matched = self._match(view)
        if not matched.all_numbers:
            return NO_RESERVATION
        needed = [(capacity, choice) for choice in choices for capacity in matched.by_row.get(choice.row, ())]
        lacking: int | None = None
        for _ in range(MAX_ATTEMPTS if needed else 0):
            units, lacking, empty_lease = self._try_to_take(needed, now_ms)
            if empty_lease is None:
                return Reservation(
                    tuple(units), before_ms=min((lease.ends_ms for lease, _ in units), default=None)
                )
            if not await self._refill(empty_lease, now_ms):
                break
        return Reservation((), lacking)

    def done(self, reservation: Reservation, write: "asyncio.Task[Any]") -> None:
        """Note that the write of a decision has ended: its units are used, or free again, or it is not known."""
        unknown = write.cancelled() or write.exception() is not None
        for lease, _ in reservation.units:
            lease.open -= 1
            if unknown or write.result().lapsed:
                self._abandon(lease)  # what became of its units will be counted in the log
            elif not write.result().written:
                lease.unbook()

    async def usage(self, now_ms: int) -> list[Usage]:
        """Read the books of every capacity's current period. Raises ``RedisUnavailable``."""
        found = []
        for capacity in self._catalogue().capacities.values():
            period = period_at(capacity, now_ms)
            books = await self._pools.books(capacity.capacity_id, period) or Books(0, 0)
            found.append(books.usage(capacity, period))
        return found

    # -- life

    def start(self) -> None:
        """Begin to renew leases, and to return those that are not needed."""
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Return what is left. No more decisions may be under way."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._ending += self._current.values()
        self._current.clear()
        await self._return_leases()

    async def _keep(self) -> None:
        while not cancelled():
            await asyncio.sleep(TICK_S)
            try:
                self._retire(time.monotonic())
                await self._return_leases()
                self._renew(time.monotonic())
                self._failures.recovered("leases of capacity")
            except (DecisioningError, StorageError) as error:
                self._failures.note("leases of capacity", "leases of capacity wait: %s", error, error=error)

    def _retire(self, now_s: float) -> None:
        """Stop spending leases that are of no use: idle, of an earlier period, or of a capacity that has changed."""
        if not self._current:
            return
        known = self._catalogue().capacities
        now_ms = self._clock_ms()
        for capacity_id, lease in list(self._current.items()):
            idle = lease.ends_ms and now_s - lease.spent_s > MAX_IDLE_S and not lease.waiting
            if idle or not lease.covers(known.get(capacity_id), now_ms):
                self._ending.append(self._current.pop(capacity_id))

    async def _return_leases(self) -> None:
        """Return what is retired, once the fate of all its units is known."""
        ready = [lease for lease in self._ending if lease.open == 0 and lease.task is None]
        self._ending = [lease for lease in self._ending if lease not in ready]
        for lease in ready:
            if lease.ends_ms:
                with contextlib.suppress(RedisUnavailable):  # the lease runs out then
                    await self._pools.give_back(
                        lease.capacity.capacity_id, lease.period, lease.holder, lease.used
                    )

    def _renew(self, now_s: float) -> None:
        for lease in self._current.values():
            # A fifth of its length: several renewals may fail before the lease runs out.
            if lease.ends_ms and lease.task is None and now_s - lease.asked_s > self._lease_ms / 5000:
                self._ask(lease, renew_only=True)

    # -- leases

    def _match(self, view: PlacementView) -> ViewCapacities:
        placement_id = view.placement.placement_id
        matched = self._matched.get(placement_id)
        # A view belongs to one catalogue, so a match holds for as long as the view is the same object.
        if matched is None or matched.view is not view:
            matched = ViewCapacities.of(view, self._catalogue().capacities.values())
            self._matched[placement_id] = matched
        return matched

    def _lease(self, capacity: Capacity, now_ms: int) -> Lease:
        lease = self._current.get(capacity.capacity_id)
        if lease is not None:
            if lease.covers(capacity, now_ms):
                return lease
            self._ending.append(lease)
        lease = self._current[capacity.capacity_id] = _new_lease(capacity, period_at(capacity, now_ms))
        return lease

    def _is_empty(self, capacity: Capacity, now_ms: int, now_s: float) -> bool:
        lease = self._lease(capacity, now_ms)
        if lease.has_units(now_s):
            return False
        return now_s < lease.empty_until_s or not self._pools.pipe.connected

    def _try_to_take(
        self, needed: Sequence[tuple[Capacity, Choice]], now_ms: int
    ) -> tuple[list[tuple[Lease, str]], int | None, Lease | None]:
        """Take a unit for each, now; or none, and say for which row, and of which lease, there was none."""
        now_s = time.monotonic()
        units: list[tuple[Lease, str]] = []
        for capacity, choice in needed:
            lease = self._lease(capacity, now_ms)
            if not lease.has_units(now_s):
                for other, _ in units:
                    other.free += 1
                return [], choice.row, lease
            lease.free -= 1
            units.append((lease, choice.offer.offer_id))
        for lease, _ in units:
            lease.book(now_s)
            if lease.is_low(now_s):
                self._ask(lease)
        return units, None, None

    async def _refill(self, lease: Lease, now_ms: int, wanted: int = 1) -> bool:
        """Wait for the pool's answer. Returns whether it is worth trying again."""
        capacity = lease.capacity
        if time.monotonic() < lease.empty_until_s:
            return False
        lease.waiting += wanted
        try:
            task = lease.task or self._ask(lease)
            await asyncio.wait([task], timeout=MAX_REFILL_WAIT_S)
        finally:
            lease.waiting -= wanted
        return task.done() and time.monotonic() >= self._lease(capacity, now_ms).empty_until_s

    def _abandon(self, lease: Lease) -> None:
        """Never use a lease again, nor return it."""
        # It runs out, and its use is counted in the log, since here it is not known.
        if self._current.get(lease.capacity.capacity_id) is lease:
            del self._current[lease.capacity.capacity_id]
        if lease in self._ending:
            self._ending.remove(lease)
        lease.void()

    def _ask(self, lease: Lease, *, renew_only: bool = False) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._exchange(lease, renew_only))
        lease.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _exchange(self, lease: Lease, renew_only: bool) -> None:
        """Ask the pool, and use the lease no more if there is no grant."""
        try:
            grant = await self._request(lease, renew_only)
            if grant.status == "missing" and not lease.ends_ms:
                await self._open(lease)
                grant = await self._request(lease, renew_only)
        except (DecisioningError, StorageError) as error:
            if not isinstance(error, Unavailable):
                self._failures.note(
                    lease.capacity.capacity_id,
                    "a defect in the leases of capacity %s",
                    lease.capacity.capacity_id,
                    level=logging.ERROR,
                    error=error,
                    with_traceback=True,
                )
            # Whether units were granted is not known, so none may be used.
            grant = Grant("missing")
        finally:
            lease.task = None
        if grant.status != "ok":
            self._abandon(lease)
        if grant.status == "missing":
            self._pause(lease)

    def _pause(self, lease: Lease) -> None:
        """Do not ask this pool again for a moment, and longer each time, under whatever name."""
        capacity_id = lease.capacity.capacity_id
        last_s = self._pauses.get(capacity_id, FIRST_PAUSE_S / 2)
        self._pauses[capacity_id] = pause_s = min(2 * last_s, MAX_PAUSE_S)
        present = self._current.setdefault(capacity_id, _new_lease(lease.capacity, lease.period))
        if present.capacity == lease.capacity and present.period == lease.period:
            present.empty_until_s = time.monotonic() + pause_s

    async def _request(self, lease: Lease, renew_only: bool) -> Grant:
        # Taken before the question is sent: the lease is given up here before it ends at the server, never after.
        started_s = lease.asked_s = time.monotonic()
        if not renew_only:
            lease.want = next_want(lease.want, lease.spent, started_s - lease.granted_s)
        grant = await self._pools.lease(
            lease.capacity,
            self._catalogue().version,
            lease.period,
            lease.holder,
            held=lease.free + lease.used,
            used=lease.used,
            want=0 if renew_only else max(lease.want, lease.waiting),
            lease_ms=self._lease_ms,
        )
        if grant.status != "ok":
            return grant
        lease.price = grant.price
        if grant.units or lease.ends_ms:
            lease.ends_ms, lease.good_until_s = grant.ends_ms, started_s + self._lease_ms / 1000
        if grant.units:
            lease.free += grant.units
            lease.granted_s, lease.spent = started_s, 0
            self._pauses.pop(lease.capacity.capacity_id, None)
        elif grant.remaining == 0 and not renew_only:
            self._pause(lease)
        return grant

    async def _open(self, lease: Lease) -> None:
        """Open a pool that never was."""
        capacity_id, period = lease.capacity.capacity_id, lease.period
        before_ms = await self._pools.server_ms() + self._lease_ms
        # One that was lost is left to the worker, who counts the log first.
        if await self._log.note_opening(capacity_id, period):
            await self._pools.open(capacity_id, period, 0, 0, before_ms=before_ms)


def _new_lease(capacity: Capacity, period: Period) -> Lease:
    # A name of its own for each lease: one that was abandoned is counted in the log under its name.
    return Lease(capacity, period, uuid.uuid4().hex, time.monotonic())


class NoCapacity:
    """Reservations where nothing has a capacity."""

    def exhausted(self, view: PlacementView, now_ms: int) -> frozenset[int]:
        """Give no numbers."""
        return frozenset()

    def withheld(self, view: PlacementView) -> frozenset[int]:
        """Give no numbers."""
        return frozenset()

    def prices(self, view: PlacementView, now_ms: int) -> tuple[UnitPrice, ...]:
        """Give no prices."""
        return ()

    async def units(
        self, view: PlacementView, slots: int, now_ms: int
    ) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Count nothing."""
        return ()

    async def take(self, view: PlacementView, choices: Sequence[Choice], now_ms: int) -> Reservation:
        """Take nothing: nothing is needed."""
        return NO_RESERVATION

    def done(self, reservation: Reservation, write: "asyncio.Task[Any]") -> None:
        """Do nothing: nothing was taken."""
