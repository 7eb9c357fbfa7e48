"""``python -m benchmarks.replay``: how long it takes to find the arms of an old decision in a large archive.

On servers of its own, in this process: an archive of outcomes is made with SQL, and folded with checkpoints of arms, as
the worker makes them. Then the arms at the last epoch are looked for from the last checkpoint, and by folding all.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.embedded.server_urls import ServerUrls
from app.worker.archiver import CHECKPOINT_OUTCOMES
from bandits.state import ArmTable
from benchmarks.machine import describe
from benchmarks.plan import RESULTS
from benchmarks.processes import fresh_servers
from decisioning.evaluation.replay_service import arms_at
from decisioning.learning.fold import fold_outcomes
from decisioning.log.checkpoints import Checkpoint
from decisioning.log.store_archive import Archiver, ArchiveReader
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from storage.postgres import make_engine, transaction

KEY, BUCKETS, OFFERS, START_MS = "calibrated@1", 64, 200, 1_790_000_000_000
FOLD_OUTCOMES = 500
WRITTEN = RESULTS.parent / "replay.json"
INSERT = """
INSERT INTO outcomes (decision_id, offer_id, outcome, decided_at, offer_no, value, at_ms, recorded_ms, late, reward,
    prior, policy, placement, bucket, position, estimate)
SELECT 'd' || n, 'o' || n % :offers, 'rejected', to_timestamp((:start + n) / 1000.0), 1 + n % :offers, NULL, :start + n,
    :start + n, false, (n % 20 = 0)::int, 0.05, :key, 'home', n % :buckets, (:start + n) || '-0', 0.05
FROM generate_series(cast(:first AS bigint), :last) AS n
"""


def main() -> int:
    """Measure, show, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--outcomes", type=int, default=1_000_000)
    options = parser.parse_args()
    with fresh_servers() as (_, urls):
        found = asyncio.run(measure(urls, options.outcomes))
    for name, value in found.items():
        Console().print(f"{name:<50}{value:>14,.3f}", highlight=False)
    WRITTEN.write_text(json.dumps({**found, "machine": describe()}, indent=1) + "\n")
    return 0


async def measure(urls: ServerUrls, outcomes: int) -> dict[str, float]:
    """Make the archive, and look for arms both ways. Seconds, bytes and counts."""
    engine = make_engine(urls.postgres_url, statement_s=600)
    archiver, log, roster = Archiver(urls.postgres_url), ArchiveReader(engine), Roster()
    table = ArmTable(roster[KEY].width)
    size = 0
    for first in range(0, outcomes, CHECKPOINT_OUTCOMES):
        last = min(first + CHECKPOINT_OUTCOMES, outcomes) - 1
        await _insert(engine, first, last)
        before, after = (_positions(number) for number in (first - 1, last))
        async for part in log.observations(after, behind=before):
            for field, delta in fold_outcomes(part, roster.spec(KEY), roster[KEY])[0].items():
                table.add(field, delta)
        moves = [
            (1 + number // FOLD_OUTCOMES, *move)
            for number in range(first + FOLD_OUTCOMES - 1, last + 1, FOLD_OUTCOMES)
            for move in _positions(number).items()
        ]
        await archiver.write_folds(KEY, moves)
        if last + 1 < outcomes:
            size = await archiver.write_checkpoint(KEY, Checkpoint(moves[-1][0], after, dict(table.fields())))
    await archiver.close()
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))
    epoch = outcomes // FOLD_OUTCOMES
    with_checkpoint, found = await _timed(lambda: arms_at(log, KEY, roster, epoch))
    whole = ArmTable(roster[KEY].width, epoch)

    async def fold_all() -> None:
        async for part in log.observations(_positions(outcomes - 1)):
            for field, delta in fold_outcomes(part, roster.spec(KEY), roster[KEY])[0].items():
                whole.add(field, delta)

    without, _ = await _timed(fold_all)
    await engine.dispose()
    if list(found.fields()) != list(whole.fields()):
        raise SystemExit("the arms of both ways differ")
    return {
        "outcomes": outcomes,
        "seconds from a checkpoint": with_checkpoint,
        "seconds folding all": without,
        "bytes of the last checkpoint": size,
    }


async def _insert(engine: AsyncEngine, first: int, last: int) -> None:
    values = {"first": first, "last": last, "start": START_MS, "key": KEY}
    async with transaction(engine) as connection:
        await connection.execute(text(INSERT), {**values, "offers": OFFERS, "buckets": BUCKETS})


def _positions(number: int) -> dict[int, StreamPosition]:
    """The last positions of all buckets once the outcome ``number`` was logged."""
    behind = range(max(number - BUCKETS + 1, 0), number + 1)
    return {n % BUCKETS: StreamPosition(f"{START_MS + n}-0") for n in behind}


async def _timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = await work()
    return time.perf_counter() - started, found


if __name__ == "__main__":
    sys.exit(main())
