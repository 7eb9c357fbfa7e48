"""The measurements, one after the other, on servers that run."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import psutil
import redis

from benchmarks import paced, report, wrk
from benchmarks.caller import Caller
from benchmarks.machine import BenchError
from benchmarks.plan import ONE_SLOT, THREE_SLOTS, Plan
from benchmarks.processes import ApiProcess, Site
from benchmarks.report import Row
from benchmarks.world import POLICY
from benchmarks.wrk import Measured
from decisioning.policies.store import PolicyStore
from storage.keys import WORKERS
from storage.postgres import make_engine

MAX_DEGRADED_SHARE = 0.05
MAX_DRAIN_S = 30.0
MAX_WARM_START_S = 120.0
MAX_CHOOSING_S = 600.0
"""It is folded from all that was measured before."""
COLD = ("registered", "folding")
BATCH_ITEMS = 100
BATCH_CONNECTIONS = 4
KEY = f"{POLICY}@1"


@dataclass(slots=True)
class Load:
    """Measurements of one route at one number of connections, run by run.

    ``cpu_us``: the API process's processor time a request, in microseconds. ``others``: the share of the API's core
    that went to other processes of this machine meanwhile; it should be next to nothing.
    """

    runs: list[Measured] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def describe(self) -> dict[str, list[float]]:
        """Run by run, for those who want to see how much they differ."""
        return {
            "rps": [round(run.rps, 1) for run in self.runs],
            "cpu_us": [round(us, 1) for us in self.cpu_us],
            "others": [round(share, 3) for share in self.others],
        }


@dataclass(frozen=True, slots=True)
class Drained:
    """The catching up of a worker that was behind: archiving and learning; outcomes beside those of decisions."""

    decisions: int
    outcomes: int
    wall_s: float
    cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        """Records per second of processor time, each archived, and learned from if there is something to learn."""
        return (self.decisions + self.outcomes) / self.cpu_s

    @property
    def per_s(self) -> float:
        """Records per second."""
        return (self.decisions + self.outcomes) / self.wall_s


class Bench:
    """Loads one API process with wrk. ``say`` is told what is going on.

    ``degraded``: the largest share of degraded answers by what was measured. On a machine that does other things as
    well some answers are late; more than ``MAX_DEGRADED_SHARE`` is an error, except without cached profiles.
    """

    def __init__(self, site: Site, api: ApiProcess, plan: Plan, say: Callable[[str], None]) -> None:
        self._site = site
        self._api = api
        self._plan = plan
        self._say = say
        self._random = random.Random(7)
        self.degraded: dict[str, float] = {}

    def alternating(self) -> dict[tuple[str, int], Load]:
        """Noop and decide by turns at each number of connections, repeatedly: noise meets both alike.

        Before each noop the worker gets the time to archive what the decisions before it have left.
        """
        found: dict[tuple[str, int], Load] = {}
        for repetition in range(self._plan.repetitions):
            for connections in self._plan.connections:
                for mode in ("noop", "decide"):
                    self._say(
                        f"{mode}, {connections} connections ({repetition + 1} of {self._plan.repetitions})"
                    )
                    if mode == "noop":
                        drain(self._site)
                    self._once(found.setdefault((mode, connections), Load()), mode, connections, ONE_SLOT)
        return found

    def paced(self, rate: float) -> Row:
        """Decide at a rate of requests that does not depend on answers."""
        self._say(f"decide, {rate:.0f} requests a second whether or not they are answered")
        drain(self._site)
        seed = self._random.randrange(2**31)
        requests = paced.questions("localhost", self._site.key, self._plan.customers, ONE_SLOT, seed)
        with self._degrading(report.PACED):
            return paced.measure(self._api.port, requests, rate, self._plan.seconds)

    def feedback_batches(self) -> float:
        """Outcomes per second in feedback of many outcomes. Raises ``BenchError`` as ``feedback``."""
        self._say("feedback, in batches")
        file = str(self._site.folder / "batches.txt")
        with self._degrading("decide, collecting"):
            self._wrk("collect", self._plan.main_connections, 4 * self._plan.seconds, THREE_SLOTS, file)
        drain(self._site)
        with self._only_fresh():
            run = self._wrk("batches", BATCH_CONNECTIONS, self._plan.seconds // 2, str(BATCH_ITEMS), file)
        if run.exhausted:  # wrk counts the time that it was given, not the time in which it asked
            self._say("all outcomes were told before the time was up: the rate is more than what is shown")
        return run.rps * BATCH_ITEMS

    def worker_drain(self, *workers: psutil.Process) -> Drained:
        """Let workers stand still while decisions and outcomes are logged, then measure how they catch up."""
        wait_for_workers(self._site, len(workers))
        # The default makes a version with features of its own accord, which folds the archive: no part of catching up.
        asyncio.run(wait_for_warm_starts(self._site))
        drain(self._site)
        self._say(f"workers that were behind: {len(workers)}")
        file = str(self._site.folder / "behind.txt")
        before = self._logged()
        for worker in workers:
            worker.suspend()
        try:
            with self._degrading("decide, collecting"):
                self._wrk("collect", self._plan.main_connections, self._plan.seconds, THREE_SLOTS, file)
            self._wrk("feedback", self._plan.main_connections, self._plan.seconds, "-", file)
        finally:
            cpu, started = sum(map(_cpu_s, workers)), time.perf_counter()
            for worker in workers:
                worker.resume()
        drain(self._site, learned=KEY)
        wall_s, cpu_s = time.perf_counter() - started, sum(map(_cpu_s, workers)) - cpu
        decisions, outcomes = (now - then for now, then in zip(self._logged(), before, strict=True))
        return Drained(int(decisions), int(outcomes), wall_s, cpu_s)

    def _logged(self) -> tuple[float, float]:
        decided, told = (self._api.counted(f"nextbest_{name}") for name in ("decisions", "feedback"))
        return sum(decided.values()), sum(told.values())

    def large_context(self) -> Row:
        """Decide with contexts of some 16 KB."""
        self._say("decide with large contexts")
        load = Load()
        self._once(load, "large", self._plan.main_connections, ONE_SLOT)
        return wrk.row(self._plan.main_connections, load.runs)

    def three_slots(self) -> Row:
        """Decide with three slots."""
        self._say("decide with three slots")
        load = Load()
        self._once(load, "decide", self._plan.main_connections, THREE_SLOTS)
        return wrk.row(self._plan.main_connections, load.runs)

    def cold(self) -> Row:
        """Decide when no profile is cached, so that nearly every one is read from Postgres."""
        self._say("decide without cached profiles")
        drain(self._site)
        with redis.Redis.from_url(self._site.urls.redis_url) as client:
            keys = list(client.scan_iter(match="nb:*:profile:*", count=5000))
            for start in range(0, len(keys), 5000):
                client.unlink(*keys[start : start + 5000])
        with self._degrading(report.NOT_CACHED, 1.0):
            run = self._wrk("decide", self._plan.main_connections, self._plan.seconds, ONE_SLOT)
        return wrk.row(self._plan.main_connections, [run])

    def featured(self) -> tuple[Row, float]:
        """Decide by the version of the default that has features; also the processor time of that, in microseconds.

        Raises ``BenchError`` if it does not decide within ``MAX_CHOOSING_S``.
        """
        self._say("the default chooses features")
        path, deadline = f"/placements/{ONE_SLOT}/policies", time.monotonic() + MAX_CHOOSING_S
        with Caller(self._api, self._site.key) as client:
            while client.send("GET", path)["champion"] == KEY:
                if time.monotonic() > deadline:
                    raise BenchError(f"{KEY} decides after {MAX_CHOOSING_S:.0f} s as it did before")
                time.sleep(0.5)
        drain(self._site)
        self._say("decide, with features")
        load = Load()
        self._once(load, "decide", self._plan.main_connections, ONE_SLOT)
        return wrk.row(self._plan.main_connections, load.runs), load.cpu_us[0]

    def feedback(self) -> list[float]:
        """Single feedbacks per second, each a fresh outcome of an offer that was decided just before.

        Raises
        ------
        BenchError
            If one failed or had been recorded before.
        """
        file = str(self._site.folder / "decided.txt")
        rates: list[float] = []
        for repetition in range(self._plan.repetitions):
            self._say(f"feedback ({repetition + 1} of {self._plan.repetitions})")
            with self._degrading("decide, collecting"):
                self._wrk("collect", self._plan.main_connections, self._plan.seconds + 2, THREE_SLOTS, file)
            drain(self._site)
            with self._only_fresh():
                run = self._wrk("feedback", self._plan.main_connections, self._plan.seconds, "-", file)
            rates.append(run.rps)
        return rates

    @contextmanager
    def _only_fresh(self) -> Iterator[None]:
        """Look whether outcomes that are told in the block are recorded. Raises ``BenchError`` if one was not."""
        before = self._api.counted("nextbest_feedback", "status")
        yield
        after = self._api.counted("nextbest_feedback", "status")
        grown = {status for status, count in after.items() if count > before.get(status, 0.0)}
        if grown != {"recorded"}:
            raise BenchError(f"not every feedback was fresh: {grown}")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Decisions are asked for at the middle number of connections for as long as the block runs."""
        arguments = self._arguments("decide", ONE_SLOT)
        with wrk.background(self._site.cores.load, self._plan.main_connections, self._api.url, arguments):
            yield

    def _once(self, load: Load, mode: str, connections: int, placement: str) -> None:
        self._wrk(mode, connections, self._plan.warm_up_s, placement)
        with self._degrading(f"{mode}, {placement}, {connections} connections"):
            core, api = core_s(self._site.cores.api), self._api.cpu_s()
            run = self._wrk(mode, connections, self._plan.seconds, placement)
            core, api = core_s(self._site.cores.api) - core, self._api.cpu_s() - api
        load.runs.append(run)
        load.cpu_us.append(api / run.requests * 1e6)
        load.others.append(max(core - api, 0.0) / (run.duration_us / 1e6))

    def _wrk(self, mode: str, connections: int, seconds: int, placement: str, *more: str) -> Measured:
        arguments = self._arguments(mode, placement, *more)
        return wrk.run(self._site.cores.load, connections, seconds, self._api.url, arguments)

    def _arguments(self, mode: str, placement: str, *more: str) -> tuple[str, ...]:
        seed = str(self._random.randrange(2**31))
        return (mode, self._site.key, str(self._plan.customers), placement, seed, *more)

    @contextmanager
    def _degrading(self, what: str, at_most: float = MAX_DEGRADED_SHARE) -> Iterator[None]:
        """Count degraded answers; wrk itself watches for answers that are no success."""
        before = self._counts()
        yield
        decided, degraded = (now - then for now, then in zip(self._counts(), before, strict=True))
        share = degraded / max(decided, 1.0)
        self.degraded[what] = round(max(share, self.degraded.get(what, 0.0)), 6)
        if share > at_most:
            reasons = self._api.counted("nextbest_degraded", "reason")
            raise BenchError(f"{degraded:.0f} of {decided:.0f} decisions were degraded: {reasons}")

    def _counts(self) -> tuple[float, float]:
        decided, degraded = (self._api.counted(f"nextbest_{name}") for name in ("decisions", "degraded"))
        return sum(decided.values()), sum(degraded.values())


def core_s(core: int) -> float:
    """Read the time for which a core has worked for processes, in seconds; interrupts apart."""
    times = psutil.cpu_times(percpu=True)[core]
    return float(times.user + times.nice + times.system)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def wait_for_workers(site: Site, count: int) -> None:
    """Wait until so many workers share the log. Raises ``BenchError`` if they are not there in ``MAX_DRAIN_S``."""
    deadline = time.monotonic() + MAX_DRAIN_S
    with redis.Redis.from_url(site.urls.redis_url) as client:
        while (there := client.hlen(WORKERS + KEY)) != count:
            if time.monotonic() > deadline:
                raise BenchError(f"there are {there} workers, not {count}")
            time.sleep(0.2)


async def wait_for_warm_starts(site: Site) -> None:
    """Wait until no policy is being warmed up. Raises ``BenchError`` if one still is after ``MAX_WARM_START_S``."""
    deadline = time.monotonic() + MAX_WARM_START_S
    engine = make_engine(site.urls.postgres_url)
    try:
        while cold := [key for key, state in (await PolicyStore(engine).states()).items() if state in COLD]:
            if time.monotonic() > deadline:
                raise BenchError(f"not warm yet: {', '.join(cold)}")
            await asyncio.sleep(0.5)
    finally:
        await engine.dispose()


def drain(site: Site, learned: str | None = None) -> None:
    """Wait until the worker has archived all that was logged, and a policy (``name@version``) learned from it.

    Raises
    ------
    BenchError
        If it is not done within ``MAX_DRAIN_S``.
    """
    deadline = time.monotonic() + MAX_DRAIN_S
    with redis.Redis.from_url(site.urls.redis_url) as client:
        logs = list(client.scan_iter(match="nb:*:log", count=5000, _type="stream"))
        while True:
            archived = asyncio.run(_archived(site))
            ends = [client.xinfo_stream(key)["last-generated-id"].decode() for key in logs]
            if set(ends) <= archived and (learned is None or set(ends) <= _folded(client, learned)):
                return
            if time.monotonic() > deadline:
                raise BenchError(f"the worker has not archived the log within {MAX_DRAIN_S:.0f} s")
            time.sleep(0.2)


def _folded(client: "redis.Redis", policy: str) -> set[str]:
    """Read how far each bucket's log was folded into a policy's arms."""
    fields: Any = client.hgetall(f"nb:arms:{policy}")
    return {value.decode() for name, value in fields.items() if name.startswith(b"@")}


async def _archived(site: Site) -> set[str]:
    connection = await asyncpg.connect(site.urls.postgres_url)
    try:
        return {row["position"] for row in await connection.fetch("SELECT position FROM archived")}
    finally:
        await connection.close()
