"""The books of capacity: pools in Redis, kept by ``nb_lease`` and others, and use as counted in the archived log."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.leasing import POOL_RETENTION_MS, Period, Usage
from decisioning.model.entities import Capacity
from storage.clock import to_datetime
from storage.errors import RedisUnavailable
from storage.keys import Keys
from storage.postgres import transaction
from storage.redis_pipe import Pipe, RedisReplyError

Status = Literal["ok", "missing", "lapsed"]

_UNITS = """
FROM decisions d, jsonb_array_elements(d.header -> 'capacity') AS unit
WHERE d.header ? 'capacity' AND d.decided_at >= :starts
    AND unit ->> 'capacity_id' = :capacity AND unit ->> 'period' = :period
"""
_RELEASED = """
SELECT count(DISTINCT (o.decision_id, o.offer_id))
FROM outcomes o JOIN decisions d ON d.decision_id = o.decision_id AND d.decided_at = o.decided_at,
    jsonb_array_elements(d.header -> 'capacity') AS unit
WHERE o.outcome IN ('withdrawn', 'released') AND o.decided_at >= :starts AND d.decided_at >= :starts
    AND d.header ? 'capacity' AND unit ->> 'offer_id' = o.offer_id
    AND unit ->> 'capacity_id' = :capacity AND unit ->> 'period' = :period
    AND (o.outcome = 'withdrawn' OR NOT EXISTS (
        SELECT 1 FROM outcomes x
        WHERE x.decision_id = o.decision_id AND x.offer_id = o.offer_id AND x.decided_at = o.decided_at
            AND x.outcome IN ('presented', 'clicked', 'accepted', 'rejected')
    ))
"""


@dataclass(frozen=True, slots=True)
class Grant:
    """An answer to a wish for units. ``ends_ms``: the end of the lease by the server's clock.

    ``missing``: there is no such pool; ``lapsed``: the holder's lease has ended, it must come with a new name.
    ``price``: the least that an offer must be worth for a unit, where the last ones are kept for value.
    """

    status: Status
    units: int = 0
    ends_ms: int = 0
    remaining: int = 0
    price: float = 0.0


class Holding(NamedTuple):
    """Units that a holder has been granted and has reported as used, and the end of its lease (Unix ms)."""

    leased: int
    used: int
    ends_ms: int


@dataclass(slots=True)
class Books:
    """A pool as stored, with what each holder has of it.

    Where units are used up by what comes of decisions: ``counted`` of them are, and decisions may hold ``allowed``;
    ``None`` elsewhere, and until that has been read from the log.
    """

    settled: int
    released: int
    holders: dict[str, Holding] = field(default_factory=dict)
    counted: int | None = None
    allowed: int | None = None

    @property
    def used(self) -> int:
        """Units used, as far as it has been reported: held, where they are used up by what comes of decisions."""
        return self.settled - self.released + sum(held.used for held in self.holders.values())

    @property
    def leased(self) -> int:
        """Units that processes hold and have not reported as used."""
        return sum(held.leased - held.used for held in self.holders.values())

    @property
    def given_out(self) -> int:
        """Units whose decisions are in the log or may still come to it, whatever became of them."""
        return self.settled + sum(held.leased for held in self.holders.values())

    def usage(self, capacity: Capacity, period: Period) -> Usage:
        """Return what is used and left of the capacity that the pool is of."""
        if not capacity.counts_later:
            remaining = max(capacity.max - self.used - self.leased, 0)
            return Usage(capacity, period, self.used, self.leased, remaining)
        counted = self.counted or 0
        open_offers = max((self.allowed or 0) - self.used - self.leased, 0)
        return Usage(
            capacity, period, counted, self.leased, max(capacity.max - counted, 0), self.used, open_offers
        )


class Pools:
    """The pools of all capacities.

    Every method raises ``RedisUnavailable`` if Redis does not answer: then it is not known what was done.
    """

    def __init__(self, pipe: Pipe, keys: Keys) -> None:
        self.pipe = pipe
        self._keys = keys

    async def server_ms(self) -> int:
        """Read the server's clock (Unix ms)."""
        seconds, microseconds = await self._call("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def open(
        self,
        capacity_id: str,
        period: Period,
        settled: int,
        released: int,
        *,
        before_ms: int | None = None,
        now_ms: int | None = None,
    ) -> bool:
        """Open a pool with what the log says. False if it is open already, or it is not before ``before_ms``."""
        expires_ms = "" if period.period_id == "total" else period.ends_ms + POOL_RETENTION_MS
        before = "" if before_ms is None else before_ms
        reply = await self._function(
            "nb_open", capacity_id, period, _time_argument(now_ms), before, settled, released, expires_ms
        )
        return bool(reply == b"ok")

    async def lease(
        self,
        capacity: Capacity,
        version: int,
        period: Period,
        holder: str,
        *,
        held: int,
        used: int,
        want: int,
        lease_ms: int,
        now_ms: int | None = None,
    ) -> Grant:
        """Renew the holder's lease, report how many of the ``held`` units are ``used``, ask for ``want`` more."""
        reply = await self._function(
            "nb_lease",
            capacity.capacity_id,
            period,
            _time_argument(now_ms),
            capacity.max,
            version,
            holder,
            held,
            used,
            want,
            lease_ms,
            "1" if capacity.counts_later else "",
        )
        status = reply[0].decode()
        if status != "ok":
            return Grant(status)
        units, ends_ms, remaining, price = reply[1:]
        return Grant("ok", units, ends_ms, remaining, float(price))

    async def give_back(self, capacity_id: str, period: Period, holder: str, used: int) -> bool:
        """End a lease. False if it had been ended."""
        return bool(await self._function("nb_return", capacity_id, period, holder, used) == b"ok")

    async def settle(
        self, capacity_id: str, period: Period, holder: str, used: int, now_ms: int | None = None
    ) -> bool:
        """End a lease that has run out. False if it had been ended, or runs again."""
        at = _time_argument(now_ms)
        return bool(await self._function("nb_settle", capacity_id, period, at, holder, used) == b"ok")

    async def release(
        self,
        capacity_id: str,
        period: Period,
        count: int,
        *,
        counted: int | None = None,
        allowed: int | None = None,
        version: int | None = None,
    ) -> None:
        """Report how many units of this pool have been released so far.

        And where units are used up by what comes of decisions, from the same reading of the log: how many are
        ``counted`` as used up, and how many decisions may hold one (``allowed``), by this ``version`` of the catalogue.
        """
        later = ("" if value is None else value for value in (counted, allowed, version))
        await self._function("nb_released", capacity_id, period, count, *later)

    async def set_price(self, capacity_id: str, period: Period, price: float) -> None:
        """Note the least that an offer must be worth for a unit of this pool."""
        await self._function("nb_price", capacity_id, period, repr(price))

    async def books(self, capacity_id: str, period: Period) -> Books | None:
        """Read what the pool holds; ``None`` if it is not open."""
        flat = await self._call("HGETALL", self._keys.capacity(capacity_id, period.period_id))
        stored = {k.decode(): v for k, v in zip(flat[::2], flat[1::2], strict=True)}
        if not stored:
            return None
        names = [name[2:] for name in stored if name.startswith("l:")]
        holders = {h: Holding(*(int(stored[f"{part}:{h}"]) for part in "lue")) for h in names}
        counted, allowed = (int(stored[name]) if name in stored else None for name in ("c", "n"))
        return Books(int(stored["s"]), int(stored["r"]), holders, counted, allowed)

    async def _function(self, name: str, capacity_id: str, period: Period, *arguments: Any) -> Any:
        key = self._keys.capacity(capacity_id, period.period_id)
        return await self.pipe.function(name, (key,), *arguments)

    async def _call(self, *command: Any) -> Any:
        try:
            return await self.pipe.call(*command)
        except RedisReplyError as error:
            raise RedisUnavailable(f"redis refused {command[0]}: {error}") from error


def _time_argument(now_ms: int | None) -> str | int:
    return "*" if now_ms is None else now_ms  # "*": the server's own clock


class CapacityLog:
    """Counts units in Postgres. Every method raises ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def note_opening(self, capacity_id: str, period: Period) -> bool:
        """Note that a pool is about to be opened. Returns whether it never was before."""
        async with transaction(self.engine) as connection:
            inserted = await connection.scalar(
                text(
                    "INSERT INTO capacity_pools (capacity_id, period, ends_ms) VALUES (:capacity, :period, :ends)"
                    " ON CONFLICT DO NOTHING RETURNING 1"
                ),
                {"capacity": capacity_id, "period": period.period_id, "ends": period.ends_ms},
            )
        return inserted is not None

    async def used(self, capacity_id: str, period: Period) -> dict[str, int]:
        """Count units in decided records by holder, whatever became of the decisions."""
        async with transaction(self.engine) as connection:
            rows = await connection.execute(
                text(f"SELECT unit ->> 'holder' AS holder, count(*) AS used {_UNITS} GROUP BY 1"),
                _parameters(capacity_id, period),
            )
            return {row.holder: row.used for row in rows}

    async def released(self, capacity_id: str, period: Period) -> int:
        """Count units whose decision was withdrawn, or released and never presented: late confirmations are use."""
        async with transaction(self.engine) as connection:
            return int(await connection.scalar(text(_RELEASED), _parameters(capacity_id, period)) or 0)

    async def forget(self, before_ms: int) -> None:
        """Drop the notes of pools whose period ended before a time."""
        async with transaction(self.engine) as connection:
            await connection.execute(
                text("DELETE FROM capacity_pools WHERE ends_ms < :before"), {"before": before_ms}
            )


def _parameters(capacity_id: str, period: Period) -> dict[str, object]:
    starts = to_datetime(period.starts_ms)
    return {"capacity": capacity_id, "period": period.period_id, "starts": starts}
