"""Two versions together, through a rolling upgrade and back, with a migration under load: nothing is lost."""

import asyncio
import random
import signal
import threading
from typing import Any

from storage.functions import OURS
from tests.support.installation import Api, Installation, everywhere, place, publish
from tests.support.load import Load
from tests.support.truth import Stores, check_arms, check_roll_ups, execute, look, wait_caught_up
from tests.support.waiting import wait_until

OFFERS = ("alpha", "beta", "gamma")
CALM: dict[str, Any] = {"policy_budget_ms": 10_000, "redis_stall_ms": 10_000}
"""A busy machine is no slow policy, and no lost Redis."""
OTHER: dict[str, Any] = CALM | {"module": "tests.support.other_version"}
EXPAND = [
    f"ALTER TABLE {table} ADD COLUMN added_by_a_later_version text" for table in ("decisions", "outcomes")
]
CONTRACT = [
    f"ALTER TABLE {table} DROP COLUMN added_by_a_later_version" for table in ("decisions", "outcomes")
]


def test_a_rolling_upgrade_and_back_under_load_loses_nothing(installation: Installation) -> None:
    old, old_worker = installation.serve(**OTHER), installation.work("work-old", **OTHER)
    old.wait()
    publish(old, OFFERS)
    place(old, slots=2)
    urls = [old.url]
    load = Load(urls, old.headers, random.Random(7), goal=10**6, lasting_s=10**6 / 60, batch=20)
    runner = threading.Thread(target=lambda: asyncio.run(load.run(4)))
    runner.start()
    try:
        more(load)
        migrate(installation, EXPAND)
        new, new_worker = installation.serve(**CALM), installation.work("work-new", **CALM)
        new.wait()
        everywhere(old, new)
        urls.append(new.url)
        more(load)
        old_worker.stop()
        more(load)
        take_out(urls, old)
        more(load)

        back, back_worker = installation.serve(**OTHER), installation.work("work-back", **OTHER)
        back.wait()
        urls.append(back.url)
        more(load)
        new_worker.stop()
        take_out(urls, new)
        migrate(installation, CONTRACT)
        more(load)
    finally:
        load.goal = 0
        runner.join(120)
    assert not runner.is_alive()
    assert back_worker.running
    wait_caught_up(installation)

    degraded = [answer["degraded"] for answer in load.decided.values() if answer["degraded"]]
    assert degraded == []
    assert load.told == load.sent
    assert max(load.recorded.values()) == 1
    assert look(installation, told_once) == dict.fromkeys(load.sent, 1)
    look(installation, check_arms)
    look(installation, check_roll_ups)
    assert look(installation, libraries) >= 2
    for process in installation._processes:
        assert "a defect" not in process.printed()


def more(load: Load) -> None:
    """Wait until some more outcomes have been acknowledged."""
    before = len(load.told)
    wait_until(lambda: len(load.told) > before + 60, "the load to go on", progress=lambda: len(load.told))


def take_out(urls: list[str], api: Api) -> None:
    """Take a process out of the load balancer, and end it in good order."""
    urls.remove(api.url)
    assert api.process.stop() in (0, -signal.SIGTERM)


def migrate(installation: Installation, statements: list[str]) -> None:
    """Change the schema as a migration of a later version does, whose statements wait 5 s for locks at most."""
    asyncio.run(execute(installation.postgres_url, "SET lock_timeout = '5s'", *statements))


async def told_once(found: Stores) -> dict[tuple[str, str, str], int]:
    """Count archived outcomes that callers told."""
    rows = await found.rows(
        "SELECT decision_id, offer_id, outcome, count(*) FROM outcomes"
        " WHERE outcome IN ('presented', 'clicked', 'accepted', 'rejected') GROUP BY 1, 2, 3"
    )
    return {(decision_id, offer_id, outcome): count for decision_id, offer_id, outcome, count in rows}


async def libraries(found: Stores) -> int:
    """Count function libraries that are loaded; ours must be one of them."""
    redis: Any = found.redis
    listed = str(await redis.function_list(library="nextbest_*"))
    assert OURS.name in listed
    return listed.count("library_name")
