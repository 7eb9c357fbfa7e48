"""``python -m benchmarks``: measure, show, save; or put saved results into the README."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from statistics import median

from rich.console import Console

from app.embedded.process import EmbeddedServersError
from app.embedded.server_urls import ServerUrls
from app.keys import KeyStore
from benchmarks import freshness, report, rules, world, wrk
from benchmarks.machine import BenchError, Cores, describe, pin, require_wrk
from benchmarks.measure import Bench
from benchmarks.plan import FULL, OFFERS, QUICK, RESULTS, ROOT, Plan
from benchmarks.processes import Site, api, fresh_servers, time_replacement, worker
from benchmarks.report import Results
from profiles.store import ProfileStore
from storage.installation import read_installation
from storage.keys import Keys
from storage.postgres import make_engine
from storage.redis import make_redis

FEATURES_EVERY = "NEXTBEST_AUTO_FEATURES_INTERVAL_S"

BUCKETS = 64

Say = Callable[[str], None]


def main() -> int:
    """Run what the command line asks for; the exit status is 2 if it cannot be measured here."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure nextbest on this machine."
    )
    parser.add_argument("--quick", action="store_true", help="about a minute; writes var/bench-quick.json")
    parser.add_argument("--readme", action="store_true", help="only put the saved results into README.md")
    parser.add_argument("--hold", action="store_true", help="set up and serve until Ctrl-C, for a profiler")
    parser.add_argument(
        "--rules", action="store_true", help="only the cost of a decision by offers and rules"
    )
    options = parser.parse_args()
    console = Console()
    if options.readme:
        found = report.rewrite(ROOT / "README.md", report.load(RESULTS))
        console.print("README.md has the results." if found else "README.md has no place for the results.")
        return 0 if found else 2
    if options.rules:
        rules.main(console)
        return 0
    started = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:5.0f} s[/dim]  {what}", highlight=False)

    plan = QUICK if options.quick else FULL
    try:
        require_wrk()
        cores = pin()
        with site(plan, cores, say) as found_site:
            if options.hold:
                hold(found_site, console)
                return 0
            results = measure(found_site, plan, say)
    except (BenchError, EmbeddedServersError) as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 2
    report.save(results, plan.results)
    report.show(results, console)
    say(f"written to {plan.results.relative_to(ROOT)}")
    if not options.quick:
        say("the cost of a decision by offers and rules")
        rules.main(console)
    return 0


@contextmanager
def site(plan: Plan, cores: Cores, say: Say) -> Iterator[Site]:
    """Servers of our own with offers and customers in them, until the block ends."""
    with fresh_servers() as (folder, urls):
        say(f"loading {OFFERS} offers and {plan.customers:,} customers")
        key, keys = asyncio.run(make_key(urls))
        # Otherwise the default would get features of what is told while it is measured, and cost more from then on.
        found = Site(folder, urls, key, cores, {FEATURES_EVERY: "0"})
        with worker(found), api(found) as first:
            world.publish_catalogue(first, key)
        asyncio.run(furnish(urls, keys, plan))
        yield found


async def furnish(urls: ServerUrls, keys: Keys, plan: Plan) -> None:
    """Put customers into the servers, and make sure that they are what the service would read."""
    engine = make_engine(urls.postgres_url)
    client = make_redis(urls.redis_url)
    try:
        await world.fill_stores(urls, keys, plan)
        await world.check_cache(urls, keys, ProfileStore(engine, client, keys.profile), plan)
    finally:
        await client.aclose()
        await engine.dispose()


async def refill_cache(urls: ServerUrls, plan: Plan) -> None:
    """Write the profiles of all customers to the cache."""
    engine = make_engine(urls.postgres_url)
    try:
        await world.fill_cache(urls, Keys((await read_installation(engine, BUCKETS)).buckets), plan)
    finally:
        await engine.dispose()


async def make_key(urls: ServerUrls) -> tuple[str, Keys]:
    """An API key, and the Redis keys of this installation."""
    engine = make_engine(urls.postgres_url)
    try:
        return await KeyStore(engine).create("admin", "bench"), Keys(
            (await read_installation(engine, BUCKETS)).buckets
        )
    finally:
        await engine.dispose()


def measure(found: Site, plan: Plan, say: Say) -> Results:
    """All measurements."""
    with worker(found) as busy_worker, api(found) as first:
        world.check_decisions(first, found.key)
        bench = Bench(found, first, plan, say)
        started = time.perf_counter()
        with api(found) as second:
            ready_s = time.perf_counter() - started
            say("freshness, idle")
            fresh = freshness.measure(first, second, found.key, plan.samples)
            # An even number: the last event must leave things as they were.
            told = freshness.measure_events(first, second, found.key, plan.samples // 2 * 2)
            say("freshness, while decisions are asked for")
            with bench.busy():
                busy = freshness.measure(first, second, found.key, plan.samples // 3)
        say("processes that take the place of others")
        replaced_s = time_replacement(found)
        loads = bench.alternating()
        rows = {(mode, n): wrk.row(n, load.runs) for (mode, n), load in loads.items()}
        paced = bench.paced(rows["decide", plan.main_connections].rps / 2)
        large = bench.large_context()
        three, feedback, batches = bench.three_slots(), bench.feedback(), bench.feedback_batches()
        drained = bench.worker_drain(busy_worker)
        with worker(found, "second worker", (found.cores.api,)) as other:
            both = bench.worker_drain(busy_worker, other)
        cold = bench.cold()
    say("loading profiles again")
    asyncio.run(refill_cache(found.urls, plan))
    choosing = replace(found, settings={FEATURES_EVERY: "2"})
    with worker(choosing), api(choosing) as first:
        featured, featured_us = Bench(choosing, first, plan, say).featured()
    return Results(
        noop=[rows["noop", n] for n in plan.connections],
        decide=[rows["decide", n] for n in plan.connections],
        ratio=round(rows["decide", plan.main_connections].rps / rows["noop", plan.main_connections].rps, 3),
        cpu_us_per_decision=round(median(loads["decide", plan.main_connections].cpu_us), 1),
        feedback_rps=round(median(feedback), 1),
        freshness_p50_ms=fresh.p50_ms,
        freshness_p99_ms=fresh.p99_ms,
        offers=OFFERS,
        customers=plan.customers,
        machine=describe(),
        extra={
            report.PACED: paced.model_dump(),
            report.BATCH: round(batches, 1),
            report.START: f"{ready_s:.2f} s",
            report.REPLACED: f"{replaced_s:.2f} s",
            report.WORKER: round(drained.per_cpu_s, 1),
            "worker_that_was_behind": asdict(drained),
            report.TWO_WORKERS: round(both.per_s / drained.per_s, 2),
            "two_workers_that_were_behind": asdict(both),
            report.LARGE: large.model_dump(),
            report.THREE_SLOTS: three.model_dump(),
            report.NOT_CACHED: cold.model_dump(),
            report.FEATURED: featured.model_dump(),
            "cpu_us_per_decision_with_features": round(featured_us, 1),
            "cpu_us_per_noop": round(median(loads["noop", plan.main_connections].cpu_us), 1),
            "freshness": asdict(fresh),
            "freshness_while_deciding": asdict(busy),
            report.EVENTS: asdict(told),
            "placement_of_processes": found.cores.describe(),
            "degraded_share": bench.degraded,
            "runs": {f"{mode} {n}": load.describe() for (mode, n), load in loads.items()},
            "feedback_rps_of_each_run": [round(rps, 1) for rps in feedback],
            "repetitions": plan.repetitions,
            "seconds_of_each_run": plan.seconds,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def hold(found: Site, console: Console) -> None:
    """Serve until Ctrl-C."""
    with worker(found), api(found) as first:
        console.print(f"{first.url} pid {first.process.pid}\nX-API-Key: {found.key}", highlight=False)
        with suppress(KeyboardInterrupt):
            first.process.wait()


if __name__ == "__main__":
    sys.exit(main())
