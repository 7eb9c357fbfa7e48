"""A process that decides for members of households until their limits are reached, or until it kills itself.

Arguments: Redis URL, name of the process, after how many reservations SIGKILL ends it (0: never), and whether that is
``before`` or ``after`` the decision is written.
"""

import asyncio
import os
import random
import signal
import sys
import time
from dataclasses import replace
from typing import Any

from decisioning.catalog.catalogue import Catalogue
from decisioning.log.households import store_contacts
from decisioning.log.ports import DecideReply
from decisioning.model.entities import ContactPolicy
from tests.support import contact_world as world

HOUSEHOLDS = ("red", "blue", "green")
MEMBERS = 6
MAX = 25
HOLD_MS = 1_500
AT_ONCE = 8
ROUNDS = 30

CATALOGUE = Catalogue(
    1,
    groups=world.GROUPS,
    offers={"news": world.offer(6, "news", "service"), "blue": world.offer(2, "blue", "cards")},
    placements=world.PLACEMENTS,
    contact_policies={"all": ContactPolicy("all", "some a day", MAX, 86_400, scope="all", per="household")},
)


async def hammer(url: str, name: str, fatal: int, when: str) -> None:
    """Decide for random members, many at once."""
    rng, view = random.Random(name), CATALOGUE.view("web")
    store_contacts.HOLD_MS = HOLD_MS
    async with world.redis_log(url, buckets=8) as log:
        write, reserved = log._write, 0

        async def deadly(*arguments: Any) -> DecideReply:
            nonlocal reserved
            reserved += 1
            is_last = reserved == fatal
            if is_last and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            reply = await write(*arguments)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return reply

        log._write = deadly  # type: ignore[assignment, method-assign]  # the end of this process

        async def one(number: int) -> None:
            household = rng.choice(HOUSEHOLDS)
            member = world.customer(f"{household}-{rng.randrange(MEMBERS)}")
            offers = rng.sample(("news", "blue"), rng.choice((1, 2)))
            now_ms = time.time_ns() // 1_000_000
            who = replace(member, household_id=household)
            decision_id = f"nb{log.keys.bucket(who.customer_id):03x}-{rng.getrandbits(128):032x}"
            await world.decide(log, view, who, decision_id, offers, now_ms, household=household)

        for batch in range(ROUNDS):
            await asyncio.gather(*(one(batch * AT_ONCE + n) for n in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(hammer(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
