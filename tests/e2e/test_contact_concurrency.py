"""Invariant 3 for contact policies: no interleaving of processes and requests exceeds a limit, in any window."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from decisioning.model.decision import Contact
from tests.support import contact_world as world
from tests.support.waiting import MAX_WAIT_S

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 2
CUSTOMERS = 5
ROUNDS = 60


def most_in_a_window(contacts: list[Contact], window_s: int) -> int:
    """The most contacts in any window of that length."""
    times = [c.at_ms for c in contacts]
    return max((sum(t - window_s * 1000 < s <= t for s in times) for t in times), default=0)


def test_invariant_3_no_interleaving_exceeds_a_contact_policy(redis_url: str) -> None:
    started_ms = str(time.time_ns() // 1_000_000)
    command = [sys.executable, "-m", "tests.support.contact_hammer", redis_url]
    hammers = [
        subprocess.Popen([*command, f"hammer{n}", str(CUSTOMERS), str(ROUNDS), started_ms], cwd=ROOT)
        for n in range(PROCESSES)
    ]
    assert [hammer.wait(timeout=MAX_WAIT_S) for hammer in hammers] == [0] * PROCESSES

    async def read() -> dict[str, list[Contact]]:
        found = {}
        async with world.redis_log(redis_url) as log:
            for number in range(CUSTOMERS):
                name = f"shared-{number}"
                found[name] = (await log.read(name, True, None)).history
        return found

    histories = asyncio.run(read())
    counted = [c for contacts in histories.values() for c in contacts]
    assert len(counted) >= CUSTOMERS * 5  # limits were reached again and again
    for contacts in histories.values():
        assert len(contacts) <= 9  # the customer's own wish for a day
        assert most_in_a_window(contacts, 30) <= 3
        for group in world.GROUPS:
            assert most_in_a_window([c for c in contacts if c.group == group], 20) <= 2
        gold = [c for c in contacts if c.offer == world.OFFERS["gold"].number]
        assert most_in_a_window(gold, 10) <= 2
        for offer in world.OFFERS.values():
            calls = [c for c in contacts if c.offer == offer.number and c.channel == "phone"]
            assert most_in_a_window(calls, 12) <= 1
        assert not any(c.offer == world.OFFERS["bill"].number for c in contacts)
