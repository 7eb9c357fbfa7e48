"""A small world with capacity for tests: a catalogue, decision services, and a worker that archives and settles.

As a program it is a process that asks for decisions from the first byte of its standard input to its end:
``python -m tests.support.capacity_world POSTGRES REDIS CAP LEASE_MS PACE_S FILE``. Each delivered decision that has the
offer with capacity adds a line with its id to the file.
"""

import asyncio
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from app.worker.archiver import ArchiverJob
from app.worker.jobs import repeat
from decisioning.capacity.store_leases import LeaseHolder
from decisioning.capacity.store_pools import CapacityLog, Pools
from decisioning.capacity.store_replenish import CapacityKeeper
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.decide.service import DecisionInputs, DecisionService
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmStore
from decisioning.log.store_archive import Archiver, ArchiveReader
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from decisioning.model.entities import Capacity, Group, Offer, Placement, Treatment
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from profiles.customer import Profile
from storage.functions import load_functions
from storage.keys import Keys
from storage.postgres import make_engine
from storage.redis import make_redis
from storage.redis_pipe import Pipe
from tests.support.databases import mark_whole

KEYS = Keys(4)
GRACE_MS = 100
LIMITED, VISIT, FREE = "call-back", "visit", "newsletter"


def catalogue(*capacities: Capacity, version: int = 1, slots: int = 1, **placement: Any) -> Catalogue:
    """One placement of ``slots`` slots. It takes its offers in order, without chance: call-back, visit, newsletter."""
    treatment = Treatment("t", "phone", "en", "Title", "Message")
    return Catalogue(
        version=version,
        groups={"g": Group("g", "Group", "retain"), "h": Group("h", "Others", "serve")},
        offers={
            LIMITED: Offer(
                LIMITED, 1, "Call-back", "g", 2.0, treatments=(treatment,), team="service", mandatory=True
            ),
            VISIT: Offer(
                VISIT, 2, "Visit", "g", 1.0, treatments=(treatment,), team="service", mandatory=True
            ),
            FREE: Offer(FREE, 3, "Newsletter", "h", 1.0, treatments=(treatment,)),
        },
        placements={
            "desk": Placement(
                "desk",
                "phone",
                slots=slots,
                default_offers=(LIMITED, FREE),
                deadline_ms=5000,
                policy="propensity",
                control_share=0.0,
                **placement,
            )
        },
        capacities={c.capacity_id: c for c in capacities},
    )


def cap(maximum: int, name: str = "calls", **scope: Any) -> Capacity:
    """A cap on the call-backs, by default for all time."""
    return Capacity(name, name, maximum, **{"per": "total", "offer": LIMITED, **scope})


class Strangers:
    """Nobody is known; implements ``service.ports.ProfileSource``."""

    def decode(self, blob: bytes) -> Profile | None:
        """Nothing is cached."""
        return None

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """A customer without a record."""
        return Profile.unknown(customer_id)


@dataclass
class Shop:
    """State that the processes of a test share, and may change: the catalogue and the clock."""

    catalogue: Catalogue
    skew_ms: int = 0
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def clock_ms(self) -> int:
        """Now, Unix ms."""
        return time.time_ns() // 1_000_000 + self.skew_ms


@dataclass
class Process:
    """One API process, as far as decisions go."""

    shop: Shop
    pipe: Pipe
    units: LeaseHolder
    log: RedisLog
    decisions: DecisionService

    async def decide(self, **request: Any) -> dict[str, Any]:
        """A decision for somebody new."""
        name = request.pop("customer_id", f"{os.getpid()}-{next(self.shop.numbers)}")
        return await self.decisions.decide(DecisionInputs(name, "desk", {}, **request))

    async def spend(self, tries: int) -> int:
        """Make so many decisions; return how many of them had the limited offer."""
        answers = [await self.decide() for _ in range(tries)]
        return sum(has(answer, LIMITED) for answer in answers)


def has(answer: Mapping[str, Any], offer_id: str) -> bool:
    """True if an answer contains an offer."""
    return any(offer["offer_id"] == offer_id for offer in answer["offers"])


async def start_process(shop: Shop, engine: AsyncEngine, redis_url: str, lease_ms: int) -> Process:
    """An API process, connected and renewing its leases."""
    pipe = Pipe(redis_url, stall_ms=10_000)  # a busy machine is no lost Redis
    await pipe.start()
    units = LeaseHolder(
        Pools(pipe, KEYS), CapacityLog(engine), lambda: shop.catalogue, shop.clock_ms, lease_ms=lease_ms
    )
    units.start()
    log = RedisLog(pipe, KEYS)
    roster = Roster()
    decisions = DecisionService(
        catalogue=lambda: shop.catalogue,
        replica=ArmReplica(roster),
        roster=roster,
        decision_log=log,
        archive=ArchiveReader(engine),
        profiles=Strangers(),
        keys=KEYS,
        clock_ms=shop.clock_ms,
        entropy=lambda: os.urandom(16),
        capacity=units,
    )
    return Process(shop, pipe, units, log, decisions)


async def stop_process(process: Process) -> None:
    """In good order: leases are returned."""
    await process.decisions.close()
    await process.units.close()
    await process.pipe.stop()


class OneCatalogue(CatalogueStore):
    """The shop's catalogue instead of the stored one."""

    def __init__(self, engine: AsyncEngine, shop: Shop) -> None:
        super().__init__(engine)
        self._shop = shop

    async def version(self) -> int:
        """The shop's."""
        return self._shop.catalogue.version

    async def load(self, version: int | None = None) -> Catalogue:
        """The shop's."""
        return self._shop.catalogue


@asynccontextmanager
async def worker(
    shop: Shop, engine: AsyncEngine, postgres_url: str, redis_url: str, lease_ms: int
) -> AsyncIterator[Pools]:
    """The archiver and the keeper of capacities, at work. Gives the pools."""
    redis = make_redis(redis_url)
    await load_functions(redis)
    await mark_whole(redis, KEYS)
    pipe = Pipe(redis_url, stall_ms=5000)
    await pipe.start()
    pools = Pools(pipe, KEYS)
    archiver = Archiver(postgres_url)
    reader = LogReader(redis, KEYS)
    keeper = CapacityKeeper(
        pools,
        CapacityLog(engine),
        reader,
        OneCatalogue(engine, shop),
        shop.clock_ms,
        lease_ms=lease_ms,
        grace_ms=GRACE_MS,
        interval_s=0.1,
    )
    feed = RosterFeed(PolicyStore(engine), Roster(()))
    job = ArchiverJob(archiver, reader, ArmStore(redis, KEYS), feed, 0.05, retain_ms=0)
    tasks = [
        asyncio.create_task(repeat("archiver", job.round)),
        asyncio.create_task(repeat("capacity", keeper.round)),
    ]
    try:
        yield pools
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await archiver.close()
        await pipe.stop()
        await redis.aclose()


async def main(
    postgres_url: str, redis_url: str, maximum: int, lease_ms: int, pace_s: float, file: Path
) -> None:
    """Make the file, wait for a byte, ask until standard input is closed."""
    engine = make_engine(postgres_url)
    process = await start_process(Shop(catalogue(cap(maximum))), engine, redis_url, lease_ms)
    stop = asyncio.Event()
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.read(sys.stdin.fileno(), 1)
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)

    async def customer() -> None:
        while not stop.is_set():
            answer = await process.decide()
            if has(answer, LIMITED):
                os.write(out, f"{answer['decision_id']}\n".encode())
            await asyncio.sleep(pace_s)

    await asyncio.gather(*(customer() for _ in range(4)))
    await stop_process(process)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(
        main(
            sys.argv[1],
            sys.argv[2],
            int(sys.argv[3]),
            int(sys.argv[4]),
            float(sys.argv[5]),
            Path(sys.argv[6]),
        )
    )
