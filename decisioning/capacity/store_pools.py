"""Pools of capacity in Redis, through the functions ``nb_open``, ``nb_lease``, ``nb_return`` ... of the library."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from decisioning.capacity.leasing import POOL_RETENTION_MS, Period
from decisioning.errors import DecisioningError
from decisioning.model.entities import Capacity
from storage.errors import RedisUnavailable
from storage.keys import Keys
from storage.redis_pipe import Pipe, RedisReplyError

Status = Literal["ok", "missing", "lapsed"]


@dataclass(frozen=True, slots=True)
class Grant:
    """An answer to a wish for units. ``ends_ms``: the end of the lease by the server's clock.

    ``missing``: there is no such pool; ``lapsed``: the holder's lease has ended, it must come with a new name.
    """

    status: Status
    units: int = 0
    ends_ms: int = 0
    remaining: int = 0


class Holding(NamedTuple):
    """Units that a holder has been granted and has reported as used, and the end of its lease (Unix ms)."""

    leased: int
    used: int
    ends_ms: int


@dataclass(slots=True)
class Books:
    """A pool as stored, with what each holder has of it."""

    settled: int
    released: int
    holders: dict[str, Holding] = field(default_factory=dict)

    @property
    def used(self) -> int:
        """Units used, as far as it has been reported."""
        return self.settled - self.released + sum(held.used for held in self.holders.values())

    @property
    def leased(self) -> int:
        """Units that processes hold and have not reported as used."""
        return sum(held.leased - held.used for held in self.holders.values())


class BrokenPool(DecisioningError):
    """A function failed in a way that is no outage: a defect."""


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
        )
        status = reply[0].decode()
        return Grant("ok", *reply[1:]) if status == "ok" else Grant(status)

    async def give_back(self, capacity_id: str, period: Period, holder: str, used: int) -> bool:
        """End a lease. False if it had been ended."""
        return bool(await self._function("nb_return", capacity_id, period, holder, used) == b"ok")

    async def settle(
        self, capacity_id: str, period: Period, holder: str, used: int, now_ms: int | None = None
    ) -> bool:
        """End a lease that has run out. False if it had been ended, or runs again."""
        return bool(
            await self._function("nb_settle", capacity_id, period, _time_argument(now_ms), holder, used)
            == b"ok"
        )

    async def release(self, capacity_id: str, period: Period, count: int) -> None:
        """Report how many units of this pool have been released so far."""
        await self._function("nb_released", capacity_id, period, count)

    async def books(self, capacity_id: str, period: Period) -> Books | None:
        """Read what the pool holds; ``None`` if it is not open."""
        flat = await self._call("HGETALL", self._keys.capacity(capacity_id, period.period_id))
        stored = {k.decode(): v for k, v in zip(flat[::2], flat[1::2], strict=True)}
        if not stored:
            return None
        books = Books(int(stored["s"]), int(stored["r"]))
        for name, value in stored.items():
            if name.startswith("l:"):
                holder = name[2:]
                books.holders[holder] = Holding(
                    int(value), int(stored[f"u:{holder}"]), int(stored[f"e:{holder}"])
                )
        return books

    async def _function(self, name: str, capacity_id: str, period: Period, *arguments: Any) -> Any:
        key = self._keys.capacity(capacity_id, period.period_id)
        return await self._call("FCALL", name, 1, key, *arguments)

    async def _call(self, *command: Any) -> Any:
        try:
            return await self.pipe.call(*command)
        except RedisReplyError as error:
            if str(error).startswith("ERR Error running") or "user_function" in str(error):
                raise BrokenPool(f"{command[1]}: {error}") from error
            raise RedisUnavailable(f"redis refused {command[0]}: {error}") from error


def _time_argument(now_ms: int | None) -> str | int:
    return "*" if now_ms is None else now_ms  # "*": the server's own clock
