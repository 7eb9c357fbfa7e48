"""The units of capacity that this process holds: taken without asking, leased from the pools in the background.

Why this never goes above a cap is argued in ``decisioning.capacity.leasing``.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from decisioning.capacity.leasing import LEASE_MS, Period, Usage, matching, next_want, period_at
from decisioning.capacity.store_pools import Grant, Pools
from decisioning.capacity.store_usage import CapacityLog
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.errors import DecisioningError
from decisioning.model.decision import CapacityUnit
from decisioning.model.entities import Capacity
from decisioning.model.selection import Choice
from storage.errors import RedisUnavailable, StorageError, Unavailable

log = logging.getLogger(__name__)

TICK_S = 0.2
IDLE_S = 1.0
PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
PATIENCE_S = 0.05
TRIES = 4

_NONE: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class _Lease:
    """What this process holds of one pool. ``free``: units to take; ``used``: units taken under this holder's name.

    ``open``: units taken whose write has not been answered yet. Times ending in ``_s`` are of the monotonic clock.
    """

    capacity: Capacity
    period: Period
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)
    free: int = 0
    used: int = 0
    open: int = 0
    ends_ms: int = 0
    good_until_s: float = 0.0
    empty_until_s: float = 0.0
    asked_s: float = 0.0
    granted_s: float = 0.0
    spent_s: float = field(default_factory=time.monotonic)
    want: int = 1
    spent: int = 0
    waiting: int = 0
    task: "asyncio.Task[None] | None" = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units taken for the offers of one decision; or, if ``lacking`` is a row, none, because there was none for it."""

    units: tuple[tuple[_Lease, str], ...] = ()
    lacking: int | None = None

    @property
    def before_ms(self) -> int | None:
        """By when they must be used, by the server's clock; ``None`` if there are none."""
        return min((lease.ends_ms for lease, _ in self.units), default=None)

    @property
    def logged(self) -> tuple[CapacityUnit, ...] | None:
        """What the decision must say of them; ``None`` if there are none."""
        return (
            tuple(
                CapacityUnit(lease.capacity.capacity_id, lease.period.period_id, lease.holder, offer_id)
                for lease, offer_id in self.units
            )
            or None
        )


NOTHING = Reservation()


@dataclass(frozen=True, slots=True)
class _Matched:
    """Which capacities a view's offers count against: by row, and the numbers of the offers of each."""

    view: PlacementView
    rows: Mapping[int, tuple[Capacity, ...]]
    numbers: tuple[tuple[Capacity, frozenset[int]], ...]
    all: frozenset[int]


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
        self._catalogue = catalogue
        self._clock_ms = clock_ms
        self._lease_ms = lease_ms
        self._matched: dict[str, _Matched] = {}
        self._current: dict[str, _Lease] = {}
        self._ending: list[_Lease] = []
        self._pauses: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    # -- what a decision asks

    def exhausted(self, view: PlacementView, now_ms: int) -> frozenset[int]:
        """Numbers of the view's offers of which nothing is left, as far as this process knows."""
        matched = self._match(view)
        if not matched.all:
            return _NONE
        now_s = time.monotonic()
        empty = [numbers for capacity, numbers in matched.numbers if self._is_empty(capacity, now_ms, now_s)]
        return frozenset().union(*empty) if empty else _NONE

    def withheld(self, view: PlacementView) -> frozenset[int]:
        """Numbers of the view's offers that have a capacity: an answer that cannot be logged must not have them."""
        return self._match(view).all

    async def take(self, view: PlacementView, choices: Sequence[Choice], now_ms: int) -> Reservation:
        """Take a unit for each capacity of each chosen offer: all, or none.

        Waits a moment for a new lease if there is nothing left here. Must be followed by ``done``.
        """
        matched = self._match(view)
        if not matched.all:
            return NOTHING
        wanted = [(capacity, choice) for choice in choices for capacity in matched.rows.get(choice.row, ())]
        lacking: int | None = None
        for _ in range(TRIES if wanted else 0):
            units, lacking, lease = self._try(wanted, now_ms)
            if lease is None:
                return Reservation(tuple(units))
            if not await self._refilled(lease, now_ms):
                break
        return Reservation((), lacking)

    def done(self, taken: Reservation, write: "asyncio.Task[Any]") -> None:
        """The write of a decision with these units has ended: they are used, or free again, or it is not known."""
        unknown = write.cancelled() or write.exception() is not None
        for lease, _ in taken.units:
            lease.open -= 1
            if unknown or write.result().lapsed:
                self._abandon(lease)  # what became of its units will be counted in the log
            elif not write.result().written:
                lease.used -= 1
                lease.free += 1

    async def usage(self, now_ms: int) -> list[Usage]:
        """The books of every capacity's current period. Raises ``RedisUnavailable``."""
        found = []
        for capacity in self._catalogue().capacities.values():
            period = period_at(capacity, now_ms)
            books = await self._pools.books(capacity.capacity_id, period)
            used, leased = (books.used, books.leased) if books else (0, 0)
            found.append(Usage(capacity, period, used, leased, max(capacity.max - used - leased, 0)))
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
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self._retire(time.monotonic())
                await self._return_leases()
                self._renew(time.monotonic())
            except (DecisioningError, StorageError) as error:
                log.warning("leases of capacity wait: %s", error)

    def _retire(self, now_s: float) -> None:
        """Stop spending leases that are of no use: idle, of an earlier period, or of a capacity that has changed."""
        if not self._current:
            return
        known = self._catalogue().capacities
        now_ms = self._clock_ms()
        for capacity_id, lease in list(self._current.items()):
            idle = lease.ends_ms and now_s - lease.spent_s > IDLE_S and not lease.waiting
            if idle or known.get(capacity_id) != lease.capacity or not lease.period.holds(now_ms):
                self._ending.append(self._current.pop(capacity_id))

    async def _return_leases(self) -> None:
        """Return what is retired, once the fate of all its units is known. If it fails, the lease runs out."""
        ready = [lease for lease in self._ending if lease.open == 0 and lease.task is None]
        self._ending = [lease for lease in self._ending if lease not in ready]
        for lease in ready:
            if lease.ends_ms:
                with contextlib.suppress(RedisUnavailable):
                    await self._pools.give_back(
                        lease.capacity.capacity_id, lease.period, lease.holder, lease.used
                    )

    def _renew(self, now_s: float) -> None:
        for lease in self._current.values():
            if lease.ends_ms and lease.task is None and now_s - lease.asked_s > self._lease_ms / 5000:
                self._ask(lease, renew_only=True)

    # -- leases

    def _match(self, view: PlacementView) -> _Matched:
        placement = view.placement
        matched = self._matched.get(placement.placement_id)
        if matched is None or matched.view is not view:
            rows = matching(self._catalogue().capacities.values(), view.offers, placement.channel)
            numbers: dict[Capacity, set[int]] = {}
            for row, capacities in rows.items():
                for capacity in capacities:
                    numbers.setdefault(capacity, set()).add(view.offers[row].number)
            parts = tuple((capacity, frozenset(those)) for capacity, those in numbers.items())
            matched = _Matched(view, rows, parts, frozenset().union(*(those for _, those in parts)))
            self._matched[placement.placement_id] = matched
        return matched

    def _lease(self, capacity: Capacity, now_ms: int) -> _Lease:
        lease = self._current.get(capacity.capacity_id)
        if lease is not None:
            if lease.capacity == capacity and lease.period.holds(now_ms):
                return lease
            self._ending.append(lease)
        lease = _Lease(capacity, period_at(capacity, now_ms))
        self._current[capacity.capacity_id] = lease
        return lease

    def _is_empty(self, capacity: Capacity, now_ms: int, now_s: float) -> bool:
        lease = self._lease(capacity, now_ms)
        if lease.free > 0 and now_s < lease.good_until_s:
            return False
        return now_s < lease.empty_until_s or not self._pools.pipe.connected

    def _try(
        self, wanted: Sequence[tuple[Capacity, Choice]], now_ms: int
    ) -> tuple[list[tuple[_Lease, str]], int | None, _Lease | None]:
        """Take a unit for each, now; or none, and say for which row, and of which lease, there was none."""
        now_s = time.monotonic()
        units: list[tuple[_Lease, str]] = []
        for capacity, choice in wanted:
            lease = self._lease(capacity, now_ms)
            if lease.free <= 0 or now_s >= lease.good_until_s:
                for other, _ in units:
                    other.free += 1
                return [], choice.row, lease
            lease.free -= 1
            units.append((lease, choice.offer.offer_id))
        for lease, _ in units:
            lease.open += 1
            lease.used += 1
            lease.spent += 1
            lease.spent_s = now_s
            if 2 * lease.free < lease.want and lease.task is None and now_s >= lease.empty_until_s:
                self._ask(lease)
        return units, None, None

    async def _refilled(self, lease: _Lease, now_ms: int) -> bool:
        """Wait for the pool's answer; whether it is worth to try again."""
        capacity = lease.capacity
        if time.monotonic() < lease.empty_until_s:
            return False
        lease.waiting += 1
        try:
            task = lease.task or self._ask(lease)
            await asyncio.wait([task], timeout=PATIENCE_S)
        finally:
            lease.waiting -= 1
        return task.done() and time.monotonic() >= self._lease(capacity, now_ms).empty_until_s

    def _abandon(self, lease: _Lease) -> None:
        """Never use a lease again, nor return it: it runs out, and its use is counted in the log."""
        if self._current.get(lease.capacity.capacity_id) is lease:
            del self._current[lease.capacity.capacity_id]
        if lease in self._ending:
            self._ending.remove(lease)
        lease.free, lease.good_until_s = 0, 0.0

    def _ask(self, lease: _Lease, *, renew_only: bool = False) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._exchange(lease, renew_only))
        lease.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _exchange(self, lease: _Lease, renew_only: bool) -> None:
        """Ask the pool. Whenever its answer is not known, the lease is not used any more."""
        try:
            grant = await self._request(lease, renew_only)
            if grant.status == "missing" and not lease.ends_ms:
                await self._open(lease)
                grant = await self._request(lease, renew_only)
        except (DecisioningError, StorageError) as error:
            if not isinstance(error, Unavailable):
                log.exception("a defect in the leases of capacity %s", lease.capacity.capacity_id)
            grant = Grant("missing")
        finally:
            lease.task = None
        if grant.status != "ok":
            self._abandon(lease)
        if grant.status == "missing":
            self._pause(lease)

    def _pause(self, lease: _Lease) -> None:
        """Do not ask this pool again for a moment, and longer each time, under whatever name."""
        capacity_id = lease.capacity.capacity_id
        last_s = self._pauses.get(capacity_id, PAUSE_S / 2)
        self._pauses[capacity_id] = pause_s = min(2 * last_s, LONGEST_PAUSE_S)
        present = self._current.setdefault(capacity_id, _Lease(lease.capacity, lease.period))
        if present.capacity == lease.capacity and present.period == lease.period:
            present.empty_until_s = time.monotonic() + pause_s

    async def _request(self, lease: _Lease, renew_only: bool) -> Grant:
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
        if grant.units or lease.ends_ms:
            lease.ends_ms, lease.good_until_s = grant.ends_ms, started_s + self._lease_ms / 1000
        if grant.units:
            lease.free += grant.units
            lease.granted_s, lease.spent = started_s, 0
            self._pauses.pop(lease.capacity.capacity_id, None)
        elif grant.remaining == 0 and not renew_only:
            self._pause(lease)
        return grant

    async def _open(self, lease: _Lease) -> None:
        """Open a pool that never was. One that was lost is left to the worker, who counts the log first."""
        capacity_id, period = lease.capacity.capacity_id, lease.period
        before_ms = await self._pools.server_ms() + self._lease_ms
        if await self._log.first(capacity_id, period):
            await self._pools.open(capacity_id, period, 0, 0, before_ms=before_ms)


class NoCapacity:
    """A catalogue in which nothing has a capacity."""

    def exhausted(self, view: PlacementView, now_ms: int) -> frozenset[int]:
        """None."""
        return frozenset()

    def withheld(self, view: PlacementView) -> frozenset[int]:
        """None."""
        return frozenset()

    async def take(self, view: PlacementView, choices: Sequence[Choice], now_ms: int) -> Reservation:
        """Nothing is needed."""
        return NOTHING

    def done(self, taken: Reservation, write: "asyncio.Task[Any]") -> None:
        """Nothing was taken."""
