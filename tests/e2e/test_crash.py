"""Everything is killed at random under load; what was acknowledged is there exactly once, and arms are its fold."""

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from app.embedded.servers import EmbeddedServers
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.replay_service import replay
from decisioning.policies.roster import Roster
from tests.support.installation import Api, Installation, everywhere, place, publish
from tests.support.load import Load
from tests.support.truth import Stores, check_arms, check_roll_ups, look, wait_caught_up

# What is killed when, and what is told; how processes interleave differs from run to run all the same.
SEED = int(os.environ.get("CRASH_SEED", "20240229"))
FEEDBACKS = 12_000
LASTING_S = 36.0
KILLS = {"api": 8, "worker": 5, "redis": 4, "postgres": 3}
LIMIT = 4


class Chaos:
    """Kills what runs, and starts it again, in an order and at times that a seed decides."""

    def __init__(
        self, servers: EmbeddedServers, installation: Installation, apis: list[Api], seed: int
    ) -> None:
        self._servers = servers
        self._installation = installation
        self._apis = apis
        self._rng = random.Random(seed)
        self.worker = installation.work()
        self._kinds: dict[str, Callable[[], None]] = {
            "api": self._api,
            "worker": self._worker,
            "redis": self._redis,
            "postgres": lambda: servers.restart_postgres("immediate"),
        }

    def run(self) -> None:
        """All kills, spread over the time that the load lasts. Blocks."""
        kinds = [kind for kind, count in KILLS.items() for _ in range(count)]
        self._rng.shuffle(kinds)
        started = time.monotonic()
        for number, kind in enumerate(kinds):
            due_s = LASTING_S * (number + self._rng.random()) / len(kinds)
            time.sleep(max(started + due_s - time.monotonic(), 0))
            self._kinds[kind]()

    def _pause(self) -> None:
        time.sleep(self._rng.random() * 0.3)

    def _api(self) -> None:
        api = self._rng.choice(self._apis)
        assert api.process.running, api.process.printed()
        api.process.kill()
        self._pause()
        api.restart()

    def _worker(self) -> None:
        assert self.worker.running, self.worker.printed()
        self.worker.kill()
        self._pause()
        self.worker = self._installation.work()

    def _redis(self) -> None:
        self._servers.kill_redis()
        self._pause()
        self._servers.start_redis()


def test_crashes_lose_nothing_and_count_nothing_twice(
    own_servers: EmbeddedServers, own_installation: Installation
) -> None:
    """The servers write with ``appendfsync always``: see the fixture."""
    apis = [own_installation.serve() for _ in range(2)]
    chaos = Chaos(own_servers, own_installation, apis, SEED)
    for api in apis:
        api.wait()
    publish(apis[0], [f"offer-{number}" for number in range(8)], value=1.5)
    publish(apis[0], ["limited"], limits=[{"max": LIMIT, "window_s": 86_400}], value=6.0)
    place(apis[0], slots=5)
    everywhere(*apis)
    load = Load([api.url for api in apis], apis[0].headers, random.Random(SEED), FEEDBACKS, LASTING_S)

    async def run() -> None:
        await asyncio.gather(load.run(clients=6), asyncio.to_thread(chaos.run))

    asyncio.run(run())
    for api in apis:
        api.wait()
    wait_caught_up(own_installation, explain=lambda: chaos.worker.printed()[-4000:])

    assert load.told == load.sent
    assert len(load.told) >= FEEDBACKS
    assert load.answers["duplicate"] > FEEDBACKS / 5
    assert max(load.recorded.values()) == 1
    look(own_installation, lambda found: check(found, load))
    for process in (*(api.process for api in apis), chaos.worker):
        assert process.running
        assert "a defect" not in process.printed()


async def check(found: Stores, load: Load) -> None:
    """Postgres holds what was told, once each, and nothing else; arms and roll-ups are folds of it."""
    rows = await found.rows(
        "SELECT decision_id, offer_id, outcome, value, late FROM outcomes"
        " WHERE outcome NOT IN ('shown', 'closed', 'withdrawn')"
    )
    assert len(rows) == len(load.told)
    assert {(r.decision_id, r.offer_id, r.outcome): r.value for r in rows} == load.told
    assert not any(row.late for row in rows)
    await check_arms(found)
    await check_roll_ups(found)
    await check_decisions(found, load.decided)


async def check_decisions(found: Stores, decided: dict[str, Any]) -> None:
    """Every acknowledged decision is logged once as it was answered, within limits; some are replayed."""
    rows = await found.rows(
        "SELECT decision_id, customer_id, header FROM decisions d WHERE NOT EXISTS"
        " (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.outcome = 'withdrawn')"
    )
    assert len({row.decision_id for row in rows}) == len(rows)
    logged = {row.decision_id: row.header for row in rows}
    limited: dict[str, int] = defaultdict(int)
    for row in rows:
        limited[row.customer_id] += any(offer["offer_id"] == "limited" for offer in row.header["offers"])
    assert max(limited.values()) == LIMIT
    for decision_id, answer in decided.items():
        assert {name: logged[decision_id][name] for name in answer} == answer
    for decision_id in random.Random(SEED).sample(sorted(decided), 15):
        again = await replay(decision_id, found.archive, CatalogueStore(found.engine), Roster())
        assert again.identical
