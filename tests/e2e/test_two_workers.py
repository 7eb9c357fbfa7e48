"""Two workers at once do no harm: each step is done by one of them, or twice without effect."""

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from app.worker.archiver import ArchiverJob
from app.worker.learning.learner import Learner
from decisioning.catalog.store import CatalogueStore
from decisioning.learning.store_arms import GENERATION, Arms
from decisioning.log.store_archive import Archiver, ArchiveReader
from decisioning.log.store_shares import GONE_MS, RENEW_MS, BucketShares
from decisioning.log.store_stream import Batch
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.recovery.store_rebuild import Rebuilder
from storage.errors import PostgresUnavailable, RedisUnavailable
from storage.keys import WORKERS
from storage.redis import make_redis
from tests.support.inprocess import state_of
from tests.support.installation import Api, Installation, place, publish
from tests.support.truth import POLICY, Stores, check_arms, check_roll_ups, look, stores, wait_caught_up
from tests.support.waiting import Deadline, eventually, within

OFFERS = ("alpha", "beta", "gamma")
OUTCOMES = ("accepted", "rejected")


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    api = installation.serve()
    workers = [installation.work(f"work-{number}") for number in range(2)]
    api.wait()
    publish(api, OFFERS)
    place(api, slots=3)
    use(api, 250)
    for worker in workers:
        wait_caught_up(installation)
        assert worker.running
        assert "a defect" not in worker.printed()
        worker.stop()
    return api


def use(api: Api, count: int) -> int:
    """Decisions with feedback on all of their offers, in batches; returns how many outcomes were told."""
    rng = random.Random(count)
    told = 0
    for _ in range(count // 25):
        items = [
            {
                "decision_id": d["decision_id"],
                "offer_id": o["offer_id"],
                "outcome": rng.choice(("accepted", "rejected")),
            }
            for d in (api.decide(f"c{rng.randrange(40)}") for _ in range(25))
            for o in d["offers"]
        ]
        answers = api.ok("POST", "/v1/feedback/batch", {"items": items})["items"]
        assert {answer["status"] for answer in answers} == {"recorded"}
        told += len(items)
    return told


def test_two_workers_learn_and_archive_everything_once(api: Api, installation: Installation) -> None:
    async def check(found: Stores) -> None:
        assert len(await found.rows("SELECT 1 FROM outcomes WHERE outcome NOT IN ('shown', 'closed')")) == 750
        await check_arms(found)
        await check_roll_ups(found)

    look(installation, check)


class AtOnce:
    """A reader that returns to its learners only when all of them have read."""

    def __init__(self, found: Stores, readers: int) -> None:
        self._reader = found.reader
        self._all_here = asyncio.Barrier(readers)

    async def read(self, *arguments: Any, **more: Any) -> Batch:
        """Return the batch that is there, once all learners have read."""
        batch = await self._reader.read(*arguments, **more)
        await within(self._all_here.wait(), "all learners to have read")
        return batch

    async def has_read(self) -> bool:
        """True if a learner has read, and waits for the others."""
        return self._all_here.n_waiting > 0


def shares_of(found: Stores, name: str, ticks: Iterator[int] | None = None) -> BucketShares:
    """The share of a worker that knows of no other yet; each look at ``ticks`` is at the next time (Unix ms)."""
    clock = ticks or itertools.count(10_000, RENEW_MS)
    return BucketShares(found.redis, POLICY, name, found.keys.buckets, lambda: next(clock))


def learners(
    installation: Installation, found: Stores, reader: Any, count: int, shares: Sequence[BucketShares] = ()
) -> list[Learner]:
    """Learners as in different processes."""
    roster = Roster()
    rebuilder = Rebuilder(
        found.engine, found.redis, found.keys, roster, CatalogueStore(found.engine), lambda: 0
    )
    return [
        Learner(POLICY, roster, reader, found.arms, rebuilder, ArchiveReader(found.engine), share)
        for share in shares or [shares_of(found, "only")] * count
    ]


async def test_learners_that_read_the_same_entries_fold_them_once(
    api: Api, installation: Installation
) -> None:
    told = await asyncio.to_thread(use, api, 50)
    async with stores(installation) as found:
        before = await found.arms.load_epoch(POLICY)
        assert before is not None
        first, second = learners(installation, found, AtOnce(found, 2), 2)
        await asyncio.gather(first.round(), second.round())
        assert await found.arms.load_epoch(POLICY) == before + 1
        archiver = Archiver(installation.postgres_url)
        try:
            assert await archive(archiver, found) == 2 * told  # each offer was shown, and answered
        finally:
            await archiver.close()
        await check_arms(found)


async def test_workers_share_the_buckets_and_take_over_from_one_that_is_gone(
    api: Api, installation: Installation
) -> None:
    async with stores(installation) as found:
        everything = frozenset(range(found.keys.buckets))
        await found.redis.delete(WORKERS + POLICY)
        ticks = itertools.count(10_000, RENEW_MS)
        shares = [shares_of(found, name, ticks) for name in ("a", "b")]
        for share in (*shares, shares[0]):
            await share.renew()
        assert shares[0].own | shares[1].own == everything
        assert not shares[0].own & shares[1].own
        assert abs(len(shares[0].own) - len(shares[1].own)) <= 1

        told = await asyncio.to_thread(use, api, 100)
        first, second = learners(installation, found, found.reader, 2, shares)
        before = await found.arms.load_positions(POLICY)
        await first.round()
        moved = await found.arms.load_positions(POLICY)
        assert {b for b in moved if moved[b] != before.get(b)} <= shares[0].own
        await second.round()  # what the first one did is no conflict
        assert await found.arms.load_positions(POLICY) == await found.reader.ends()
        archiver = Archiver(installation.postgres_url)
        try:
            assert await archive(archiver, found) >= 2 * told
        finally:
            await archiver.close()
        await check_arms(found)

        await asyncio.to_thread(use, api, 25)
        silence = [next(ticks) for _ in range(GONE_MS // RENEW_MS)]
        late = shares_of(found, "a", ticks)
        await late.renew()  # the other one has said nothing since
        assert silence
        assert late.own == everything
        assert late.alone
        (heir,) = learners(installation, found, found.reader, 1, [late])
        await heir.round()
        assert await found.arms.load_positions(POLICY) == await found.reader.ends()

        back = shares_of(found, "b", ticks)
        await back.renew()
        await late.renew()
        assert late.own != everything
        await back.leave()
        await late.renew()
        assert late.own == everything

        # One that died while the server's clock was ahead is not waited for until that time comes.
        await found.redis.hset(WORKERS + POLICY, "c", next(ticks) + 600_000)
        await late.renew()
        assert late.own == everything
        await late.leave()


async def test_a_worker_that_cannot_see_the_others_learns_from_all_buckets(
    api: Api, installation: Installation
) -> None:
    async with stores(installation) as found:
        await found.redis.delete(WORKERS + POLICY)
        ticks = itertools.count(10_000, RENEW_MS)
        shares = [shares_of(found, name, ticks) for name in ("a", "b")]
        for share in (*shares, shares[0]):
            await share.renew()
        await shares[1].leave()
        gone = make_redis("redis://127.0.0.1:1/0")
        shares[0]._redis = gone
        assert len(shares[0].own) < found.keys.buckets
        with pytest.raises(RedisUnavailable):
            await shares[0].renew()
        assert shares[0].own == frozenset(range(found.keys.buckets))
        await gone.aclose()
        await found.redis.delete(WORKERS + POLICY)


async def test_a_learner_whose_rounds_fail_keeps_no_bucket_from_others(
    api: Api, installation: Installation
) -> None:
    async with stores(installation) as found:
        await found.redis.delete(WORKERS + POLICY)
        ticks = itertools.count(10_000, RENEW_MS)
        shares = [shares_of(found, name, ticks) for name in ("a", "b")]

        class Broken:
            async def read(self, *arguments: Any, **more: Any) -> Batch:
                raise ValueError("an outcome that it cannot learn from")

        (well,) = learners(installation, found, found.reader, 1, shares[:1])
        (failing,) = learners(installation, found, Broken(), 1, shares[1:])
        await shares[1].renew()
        await well.round()
        for _ in range(GONE_MS // RENEW_MS + 1):
            with pytest.raises(ValueError, match="cannot learn"):
                await failing.round()
            await shares[0].renew()
        assert shares[0].own == frozenset(range(found.keys.buckets))
        await well.leave()


async def test_a_learner_that_read_before_a_reset_does_not_fold_after_it(
    api: Api, installation: Installation
) -> None:
    await asyncio.to_thread(use, api, 25)
    async with stores(installation) as found:
        reader = AtOnce(found, 2)
        (learner,) = learners(installation, found, reader, 1)
        reading = asyncio.create_task(learner.round())
        await eventually(reader.has_read, "the learner to have read")
        arms = await found.arms.load(POLICY)
        assert arms is not None
        reset = Arms((arms.generation + 1) * GENERATION, arms.positions, arms.fields)
        assert await found.arms.reset(POLICY, arms.epoch, reset)
        await reader.read({}, count=1, block_ms=None, decisions=False)
        await reading
        assert await found.arms.load(POLICY) == reset
        (again,) = learners(installation, found, found.reader, 1)
        await again.round()
        assert (await found.arms.load_epoch(POLICY) or 0) > reset.epoch


async def test_a_large_batch_is_folded_in_parts(
    api: Api, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More arms at once than one fold takes; only what cannot be divided, one entry, is folded as it is."""
    monkeypatch.setattr("app.worker.learning.learner.MAX_FIELDS_PER_FOLD", 1)
    told = await asyncio.to_thread(use, api, 50)
    async with stores(installation) as found:
        before = await found.arms.load_epoch(POLICY)
        (learner,) = learners(installation, found, found.reader, 1)
        await learner.round()
        assert (await found.arms.load_epoch(POLICY) or 0) > (before or 0) + told / 8
        archiver = Archiver(installation.postgres_url)
        try:
            assert await archive(archiver, found) >= told
        finally:
            await archiver.close()
        await check_arms(found)


async def test_a_follower_notices_arms_that_went_back(api: Api, installation: Installation) -> None:
    async with state_of(installation) as state, stores(installation) as found:
        arms = await found.arms.load(POLICY)
        assert arms is not None

        async def follows(epoch: int) -> bool:
            return state.replica.epoch(POLICY) == epoch

        # A process starts without the arms, if they take long to read.
        await eventually(partial(follows, arms.epoch), "the replica to have the arms")
        await found.redis.delete(found.keys.arms(POLICY), found.keys.changes(POLICY))
        try:
            assert await found.arms.reset(POLICY, None, Arms(7, arms.positions, {}))
            await eventually(partial(follows, 7), "the replica to follow")
        finally:
            assert await found.arms.reset(POLICY, 7, arms)


async def test_archivers_take_turns(api: Api, installation: Installation) -> None:
    """One that breaks off in the middle of its turn leaves nothing behind, and does not keep the other waiting."""
    await asyncio.to_thread(use, api, 25)
    first, second = Archiver(installation.postgres_url), Archiver(installation.postgres_url)
    async with stores(installation) as found:
        try:
            count = len(await found.rows("SELECT 1 FROM outcomes"))
            with pytest.raises(PostgresUnavailable):
                await break_off(first, second, found)
            assert len(await found.rows("SELECT 1 FROM outcomes")) == count

            async def archived() -> bool:
                return await archive(second, found) > 0

            await eventually(archived, "the turn of the second archiver")
            assert await archive(first, found) == 0
        finally:
            await first.close()
            await second.close()
        (learner,) = learners(installation, found, found.reader, 1)
        positions: object = None
        deadline = Deadline(f"{POLICY} to learn all that there is", progress=lambda: positions)
        while (positions := await found.arms.load_positions(POLICY)) != await found.reader.last_positions():
            deadline.check(positions)
            await learner.round()
        await check_arms(found)
        await check_roll_ups(found)


async def test_nothing_is_trimmed_before_it_is_archived_and_learned(
    api: Api, installation: Installation
) -> None:
    async with stores(installation) as found:
        await found.redis.config_set("stream-node-max-entries", 2)  # trimming goes by nodes: make them small
        archiver = Archiver(installation.postgres_url)
        feed = RosterFeed(PolicyStore(found.engine), Roster([Roster().spec(POLICY)]))
        job = ArchiverJob(archiver, found.reader, found.arms, feed, 0.0, retain_ms=0)
        try:
            await asyncio.to_thread(use, api, 50)
            await job.round()
            (learner,) = learners(installation, found, found.reader, 1)
            await learner.round()
            await check_arms(found)
            await asyncio.to_thread(use, api, 50)
            await learner.round()
            await job.round()
            await check_arms(found)
            for bucket in range(found.keys.buckets):
                assert await found.redis.xlen(found.keys.log(bucket)) < 20
        finally:
            await found.redis.config_set("stream-node-max-entries", 100)
            await archiver.close()


async def break_off(archiver: Archiver, other: Archiver, found: Stores) -> None:
    """Lose the connection in the middle of a turn, as with SIGKILL."""
    async with archiver.turn() as positions:
        assert positions is not None
        await archiver.write(await found.reader.read(positions, count=10, block_ms=None, decisions=True))
        async with other.turn() as nothing:
            assert nothing is None
        await archiver.close()


async def archive(archiver: Archiver, found: Stores) -> int:
    """Archive everything; returns how many outcomes."""
    async with archiver.turn() as positions:
        if positions is None:
            return 0
        batch = await found.reader.read(positions, count=10_000, block_ms=None, decisions=True)
        await archiver.write(batch)
        return len(batch.outcomes)
