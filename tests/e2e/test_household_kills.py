"""Invariant 3 for limits per household: processes that race and are killed between two steps never exceed one."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from decisioning.log.households.store_reservations import Reservations
from storage.keys import Keys
from storage.redis import make_redis
from tests.support.household_hammer import HOUSEHOLDS, MAX
from tests.support.waiting import MAX_WAIT_S, eventually

ROOT = Path(__file__).resolve().parents[2]
KEYS = Keys(8)


def start(url: str, name: str, fatal: int, when: str) -> subprocess.Popen[bytes]:
    """A process that decides, and kills itself after so many reservations."""
    command = [sys.executable, "-m", "tests.support.household_hammer", url, name, str(fatal), when]
    return subprocess.Popen(command, cwd=ROOT)


async def decided(url: str) -> tuple[Counter[str], set[str]]:
    """Contacts of each household by the log, and the ids of their decisions."""
    redis: Any = make_redis(url)
    contacts, ids = Counter[str](), set()
    for bucket in range(KEYS.buckets):
        for _, record in await redis.xrange(KEYS.log(bucket)):
            header = json.loads(record[b"h"])
            contacts[header["household"]] += len(header["offers"])
            ids.add(header["decision_id"])
    await redis.aclose()
    return contacts, ids


async def held(url: str, *, settled: bool = False) -> tuple[Counter[str], set[str]]:
    """The same by the histories of the households, after what nobody decided has left them if ``settled``."""
    redis: Any = make_redis(url)
    contacts, ids = Counter[str](), set()
    if settled:
        await Reservations(redis, KEYS).settle_due(time.time_ns() // 1_000_000 + 3_600_000, 10_000)
    for household in HOUSEHOLDS:
        for name in await redis.zrange(KEYS.household(household), 0, -1):
            contacts[household] += 1
            ids.add(name.decode().split(":", 5)[5])
    await redis.aclose()
    return contacts, ids


def test_killed_processes_never_exceed_a_limit_of_a_household(redis_url: str) -> None:
    deaths = [(3, "before"), (5, "after"), (2, "before")]
    hammers = [start(redis_url, f"doomed{n}", *death) for n, death in enumerate(deaths)]
    assert [hammer.wait(timeout=MAX_WAIT_S) for hammer in hammers] == [-signal.SIGKILL] * len(deaths)

    logged, ids = asyncio.run(decided(redis_url))
    reserved, reserved_ids = asyncio.run(held(redis_url))
    assert ids <= reserved_ids
    assert all(logged[household] <= reserved[household] <= MAX for household in HOUSEHOLDS)
    assert reserved.total() > logged.total()  # somebody was killed in between

    async def agree() -> bool:
        return await held(redis_url, settled=True) == await decided(redis_url)

    assert asyncio.run(eventually(agree, "the households to have what was decided, and no more"))

    survivors = [start(redis_url, f"survivor{n}", 0, "never") for n in range(2)]
    assert [hammer.wait(timeout=MAX_WAIT_S) for hammer in survivors] == [0, 0]
    assert asyncio.run(eventually(agree, "nothing to be left of what was refused"))
    logged, _ = asyncio.run(decided(redis_url))
    assert logged == dict.fromkeys(HOUSEHOLDS, MAX)
