"""The processor time and the memory that exports of decisions take, for logs of several sizes, on servers of their own.

    python -m benchmarks.export

Each log is of one day: decisions of three offers out of ten, with three facts and outcomes in closed windows. The
export runs in a process of its own, whose largest resident size is told by the system.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import text

import migrations
from app.embedded.servers import EmbeddedServers
from decisioning.log.store_archive import Archiver
from decisioning.log.store_stream import Batch
from decisioning.model.decision import DecidedOffer, Decision, LoggedDecision, LoggedFactors, LoggedPolicy
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.clock import DAY_MS
from storage.postgres import make_engine, transaction

SIZES = (10_000, 40_000)
BATCH = 5_000
DAY_START_MS = 1_780_012_800_000
OFFERS, SHOWN = 10, 3
EXPORT = """
import json, resource, sys
from app.cli import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    status = ended.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"status": status, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}))
"""


def decided(number: int, of: int) -> tuple[LoggedDecision, list[Outcome]]:
    """Make one decision of the day, and what came of its offers."""
    rng = np.random.default_rng(number)
    at_ms = DAY_START_MS + number * (DAY_MS - 1) // of
    shown = [int(n) + 1 for n in rng.permutation(OFFERS)[:SHOWN]]
    decision = Decision(
        decision_id=f"d{number:09d}",
        customer_id=f"c{number % 5000}",
        placement="home",
        channel="web",
        presentation="implicit",
        policy=LoggedPolicy("calibrated", 1),
        control=False,
        logged_group="champion",
        catalog_version=0,
        epoch=number,
        decided_at_ms=at_ms,
        until_ms=at_ms + 1000,
        context={"reason": "visit"},
        limit=None,
        slots=SHOWN,
        offers=tuple(
            DecidedOffer(f"o{n}", rank, 0.1, LoggedFactors(0.1), 0.2) for rank, n in enumerate(shown, start=1)
        ),
        numbers=tuple(shown),
        expected=(0.1,) * SHOWN,
        facts={
            "customer.age": int(rng.integers(18, 90)),
            "context.reason": "visit",
            "customer.region": "north",
        },
        degraded=(),
        feedback_until=None,
        source="live",
    )
    outcomes = [
        Outcome(
            0,
            StreamPosition(f"{number + 1}-1"),
            decision.decision_id,
            at_ms,
            f"o{n}",
            n,
            "expired",
            None,
            at_ms + 1000,
            at_ms + 1000,
            False,
            0.0,
            0.1,
            "calibrated@1",
            "home",
        )
        for n in shown
    ]
    candidates = np.arange(1, OFFERS + 1, dtype=np.uint32), np.full(OFFERS, 0.1, np.float32)
    return LoggedDecision(0, StreamPosition(f"{number + 1}-0"), decision, *candidates), outcomes


def batches(size: int) -> Iterator[Batch]:
    """Make the log of a day in batches."""
    for first in range(0, size, BATCH):
        made = [decided(number, size) for number in range(first, min(first + BATCH, size))]
        outcomes = [outcome for _, told in made for outcome in told]
        yield Batch({0: StreamPosition(f"{first + BATCH}-9")}, [logged for logged, _ in made], outcomes)


async def archive(url: str, size: int) -> None:
    """Put a log in place of the one that is there."""
    engine = make_engine(url, pool_size=1)
    async with transaction(engine) as connection:
        await connection.execute(text("TRUNCATE decisions, outcomes, acceptance, archived"))
    await engine.dispose()
    archiver = Archiver(url)
    for batch in batches(size):
        async with archiver.turn() as positions:
            assert positions is not None
            await archiver.write(batch)
    await archiver.close()


def measure(servers: EmbeddedServers, size: int) -> dict[str, float]:
    """Export a log of so many decisions; return the seconds of processor time, and the largest resident size."""
    urls = servers.urls
    asyncio.run(archive(urls.postgres_url, size))
    environment = os.environ | {
        "NEXTBEST_POSTGRES_URL": urls.postgres_url,
        "NEXTBEST_REDIS_URL": urls.redis_url,
        "NEXTBEST_LOG_LEVEL": "error",
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", EXPORT, "export", "decisions", "--out", folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert not found.pop("status"), done.stdout + done.stderr
    return found


def main() -> None:
    """Measure all sizes, and print them."""
    with tempfile.TemporaryDirectory() as folder:
        servers = EmbeddedServers(Path(folder))
        servers.start()
        try:
            migrations.upgrade(servers.urls.postgres_url)
            for size in SIZES:
                found = measure(servers, size)
                rate = size / found["cpu_s"]
                print(
                    f"{size:>8} decisions: {found['cpu_s']:.1f} s of processor time ({rate:,.0f} a second), "
                    f"{found['peak_mib']:.0f} MiB"
                )
        finally:
            servers.stop()


if __name__ == "__main__":
    main()
