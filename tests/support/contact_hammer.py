"""A process that decides for the same customers as fast as it can; for the test of concurrency.

Arguments: Redis URL, name of the process, customers, rounds, when the test began (Unix ms).
"""

import asyncio
import random
import sys
import time

from tests.support import contact_world as world

AT_ONCE = 12
LASTING_S = 2.0
"""A fast machine goes on for so long: windows must pass, however quick the rounds are."""


async def hammer(url: str, name: str, customers: int, rounds: int, start_ms: int) -> None:
    """Decide for random offers of random customers, many at once, at a pace of its own clock."""
    rng = random.Random(name)
    views = {channel: world.catalogue().view(channel) for channel in world.CHANNELS}
    async with world.redis_log(url) as log:

        async def one(number: int) -> None:
            who = world.customer(f"shared-{rng.randrange(customers)}", attributes={"max_contacts_per_day": 9})
            offers = rng.sample(sorted(world.OFFERS), rng.choice((1, 1, 2, 3)))
            decision = f"{name}-{number}"
            # A second is as long as 100 seconds of the policy, and the clocks of processes differ.
            now = time.time_ns() // 1_000_000
            at_ms = now + (now - start_ms) * 100 + rng.randint(-400, 400)
            view = views[rng.choice(world.CHANNELS)]
            reply = await world.decide(log, view, who, decision, offers, at_ms)
            if reply.written and rng.random() < 0.1:
                await log.withdraw(who.customer_id, decision, at_ms, at_ms)

        began = time.monotonic()
        batch = 0
        while batch < rounds or time.monotonic() - began < LASTING_S:
            await asyncio.gather(*(one(batch * AT_ONCE + n) for n in range(AT_ONCE)))
            batch += 1


if __name__ == "__main__":
    asyncio.run(hammer(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])))
