"""``python -m benchmarks.worker``: the processor time that a worker's jobs take for a backlog, alone and all at once.

Decisions among 200 offers, three each, and an outcome of each offer are logged while no worker runs. In this process
they are then learned by one policy, learned by another, and archived, one after the other; and another backlog by all
at once, as in a worker, where they share what they read.

Each decision, and each outcome that was told, is a record of the log. A decision is more rows of the archive: one of
its own, and one for each offer, which was shown.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

import uvloop
from prometheus_client import REGISTRY
from rich.console import Console

from app.config import Settings
from app.processes.collector import settle_collector
from app.worker.archiver import ArchiverJob
from app.worker.connections import Connections
from app.worker.learning.learner import Learner
from benchmarks import measure, world, wrk
from benchmarks.__main__ import site
from benchmarks.machine import BenchError, describe, pin, require_wrk
from benchmarks.measure import wait_for_warm_starts, wait_for_workers
from benchmarks.plan import QUICK, RESULTS, THREE_SLOTS
from benchmarks.processes import ApiProcess, Site, api, worker
from decisioning.catalog.store import CatalogueStore
from decisioning.learning.store_arms import ArmStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_shares import BucketShares
from decisioning.log.store_stream import LogReader, ParsedEntries
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from storage.keys import Keys

POLICIES = "calibrated@1", "thompson@1"
ARCHIVER = "archiver"
WRITTEN = RESULTS.parent / "worker.json"
MAX_S = 120.0
"""A backlog that is not done by then never will be."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a job did: ``count`` lessons, or rows of the archive, in seconds of processor time."""

    count: int
    cpu_s: float

    @property
    def per_s(self) -> float:
        """How many in a second of processor time."""
        return self.count / self.cpu_s


class Jobs:
    """The jobs of a worker that follow the log, in this process. ``parsed``: what they share, if anything."""

    def __init__(self, to: Connections, keys: Keys, parsed: ParsedEntries | None) -> None:
        self._roster, self._arms = Roster(), ArmStore(to.redis, keys)
        self._archive = ArchiveReader(to.engine)
        self._reader = LogReader(to.redis, keys)
        rebuilder = Rebuilder(
            to.patient, to.redis, keys, self._roster, CatalogueStore(to.patient), clock.now_ms
        )
        self._feed = RosterFeed(PolicyStore(to.engine), self._roster)
        self._rounds: dict[str, Callable[[], Awaitable[float]]] = {}
        for key in POLICIES:
            shares = BucketShares(to.redis, key, uuid4().hex, keys.buckets, clock.now_ms)
            reader = LogReader(to.blocking, keys, parsed)
            learner = Learner(key, self._roster, reader, self._arms, rebuilder, self._archive, shares)
            self._rounds[key] = learner.round
        reader = LogReader(to.redis, keys, parsed)
        self._rounds[ARCHIVER] = ArchiverJob(to.archiver, reader, self._arms, self._feed, 0.0).round

    async def run(self, *names: str) -> dict[str, Done]:
        """Let jobs work at once until they have done all that is logged. Their processor time is that of all together.

        Raises ``BenchError`` if they do not get there.
        """
        await self._feed.refresh()
        ends = await self._reader.last_positions()
        before, started_s = {name: _count(name) for name in names}, time.process_time()
        try:
            async with asyncio.timeout(MAX_S):
                await asyncio.gather(*(self._catch_up(name, ends) for name in names))
        except TimeoutError as error:
            raise BenchError(f"not done after {MAX_S:.0f} s: {', '.join(names)}") from error
        cpu_s = time.process_time() - started_s
        return {name: Done(_count(name) - before[name], cpu_s) for name in names}

    async def _catch_up(self, name: str, ends: Mapping[int, StreamPosition]) -> None:
        while True:
            rest_s = await self._rounds[name]()
            reached = await (
                self._archive.positions() if name == ARCHIVER else self._arms.load_positions(name)
            )
            if all(reached.get(bucket, StreamPosition.START) >= end for bucket, end in ends.items()):
                return
            await asyncio.sleep(rest_s)


def _count(name: str) -> int:
    """Read how much a job has done by now: rows of the archive, or lessons."""
    if name == ARCHIVER:
        kinds = ("decided", "outcome")
        found = [REGISTRY.get_sample_value("nextbest_archived_total", {"type": kind}) for kind in kinds]
    else:
        found = [REGISTRY.get_sample_value("nextbest_folded_total", {"policy": name})]
    return int(sum(count or 0.0 for count in found))


def log_backlog(found: Site, process: ApiProcess, seconds: int, draw: random.Random) -> float:
    """Log decisions for some seconds, and an outcome of each of their offers; returns how many records they are."""
    before = _logged(process)
    file = str(found.folder / "behind.txt")
    for mode in ("collect", "feedback"):
        arguments = (mode, found.key, str(QUICK.customers), THREE_SLOTS, str(draw.randrange(2**31)), file)
        wrk.run(found.cores.load, QUICK.main_connections, seconds, process.url, arguments)
    return _logged(process) - before


def _logged(process: ApiProcess) -> float:
    return sum(sum(process.counted(f"nextbest_{name}").values()) for name in ("decisions", "feedback"))


async def measure_jobs(found: Site, process: ApiProcess, seconds: int) -> dict[str, float]:
    """Measure the jobs alone, and all at once."""
    draw = random.Random(7)
    settings = Settings(postgres_url=found.urls.postgres_url, redis_url=found.urls.redis_url)
    keys, to = Keys(settings.buckets), Connections.from_settings(settings)
    try:
        records = await asyncio.to_thread(log_backlog, found, process, seconds, draw)
        jobs = Jobs(to, keys, None)
        alone = {name: (await jobs.run(name))[name] for name in (*POLICIES, ARCHIVER)}
        more = await asyncio.to_thread(log_backlog, found, process, seconds, draw)
        together = await Jobs(to, keys, ParsedEntries()).run(*POLICIES, ARCHIVER)
    finally:
        await to.close()
    archived, all_s = alone[ARCHIVER], together[ARCHIVER].cpu_s
    apart_s = sum(done.cpu_s * together[name].count / done.count for name, done in alone.items())
    return {
        **{f"{key}: lessons a second, alone": alone[key].per_s for key in POLICIES},
        "records archived a second, alone": records / archived.cpu_s,
        "rows of the archive a second, alone": archived.per_s,
        "records a second, archived and learned by both at once": more / all_s,
        "processor time of all at once over that of each alone": all_s / apart_s,
        "records": records,
        "rows of the archive": float(archived.count),
        **{f"{key}: lessons": float(alone[key].count) for key in POLICIES},
    }


def main() -> int:
    """Measure, show and save; the exit status is 2 if it cannot be measured here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker", description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="in which the decisions of a backlog are made")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median of each figure is told")
    options = parser.parse_args()
    console = Console()
    try:
        require_wrk()
        with site(QUICK, pin(), lambda what: console.print(what, style="dim")) as found:
            with worker(found), api(found) as first:
                world.check_decisions(first, found.key)
                wait_for_workers(found, 1)
                asyncio.run(wait_for_warm_starts(found))
                measure.drain(found)
            with api(found) as process:
                # With the collector, and on the loop, that workers have.
                settle_collector(has_worked=True)
                rounds = [
                    uvloop.run(measure_jobs(found, process, options.seconds)) for _ in range(options.rounds)
                ]
    except BenchError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 2
    measured = {name: sorted(figures[name] for figures in rounds) for name in rounds[0]}
    for name, values in measured.items():
        console.print(
            f"{name:<70}{median(values):>12,.2f}  ({values[0]:,.2f} to {values[-1]:,.2f})", highlight=False
        )
    middle = {name: median(values) for name, values in measured.items()}
    WRITTEN.write_text(json.dumps({**middle, "rounds": measured, "machine": describe()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
