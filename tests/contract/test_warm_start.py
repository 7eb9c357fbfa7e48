"""Policies that come later are as warm as if they had been there from the start."""

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from bandits.algorithms.apprentice import ApprenticePolicy
from bandits.policy import PolicySpec
from bandits.state import ArmTable
from decisioning.evaluation.replay_service import replay
from decisioning.learning import store_warm_start as warming
from decisioning.learning.fold import fold_outcomes
from decisioning.learning.store_arms import GENERATION, ArmStore
from decisioning.learning.store_warm_start import fold_archive
from decisioning.log import store_archive as archive
from decisioning.policies.store import PolicyStore
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from tests.support.api import BUCKETS, CSV, Nextbest, decide, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def policies(shop: Nextbest) -> PolicyStore:
    return shop.api.state.policies


async def register(shop: Nextbest, name: str, version: int = 1, **fields: Any) -> str:
    """Register a policy of the algorithm `thompson`; returns its key."""
    spec = PolicySpec(name, version, "thompson", **fields)
    assert await shop.api.state.policies.register(spec, "tests")
    return spec.key


async def arms_of(shop: Nextbest, key: str) -> Mapping[str, bytes]:
    """The arms in Redis."""
    arms = await ArmStore(shop.api.state.redis, shop.api.state.keys).load(key)
    assert arms is not None, f"{key} has no arms"
    return arms.fields


async def traffic(shop: Nextbest, first: int, count: int, placement: str = "home") -> None:
    """Decisions of which some are accepted, some rejected, and some stay without an answer."""
    for number in range(first, first + count):
        decision = await decide(shop.api, f"customer-{number}", placement)
        offer_id = decision["offers"][0]["offer_id"]
        if number % 3:
            outcome = "accepted" if number % 2 else "rejected"
            await tell(shop.api, decision["decision_id"], offer_id, outcome)


async def test_a_warm_start_equals_having_been_there(shop: Nextbest) -> None:
    early = await register(shop, "early")
    await shop.worker.warm()
    await traffic(shop, 0, 30)
    await shop.worker.drain()
    late = await register(shop, "late")
    await traffic(shop, 30, 20)
    await shop.worker.archive()
    await traffic(shop, 50, 10)
    await shop.worker.warm()
    await traffic(shop, 60, 10)
    await shop.worker.expire(ahead_s=8 * 86_400)
    await shop.worker.drain()
    found = await arms_of(shop, late)
    assert found
    assert found == await arms_of(shop, early) == await arms_of(shop, "thompson@1")
    registered = await shop.api.state.policies.get(late)
    assert registered.state == "live"
    assert registered.folded == registered.total > 0


async def test_however_registering_traffic_and_jobs_fall_together(shop: Nextbest) -> None:
    rng = random.Random(11)
    keys: list[str] = []
    for step in range(40):
        match rng.randrange(6):
            case 0:
                keys.append(await register(shop, "mixed", 1 + len(keys)))
            case 1:
                await shop.worker.warm()
            case 2:
                await shop.worker.learn()
            case 3:
                await shop.worker.archive()
            case 4:
                await shop.worker.expire(ahead_s=8 * 86_400)
            case 5:
                await traffic(shop, 1000 + 10 * step, rng.randrange(1, 6), rng.choice(("home", "desk")))
    await shop.worker.archive()
    await shop.worker.warm()
    await shop.worker.drain()
    expected = await arms_of(shop, "thompson@1")
    assert len(keys) > 3
    for key in keys:
        assert await arms_of(shop, key) == expected


FEATURES = [
    {"name": "age", "kind": "numeric", "path": "customer.age"},
    {"name": "reason", "kind": "category", "path": "context.reason", "buckets": 5},
    {"name": "likes", "kind": "interests", "path": "customer.interests", "buckets": 3},
    {"name": "known", "kind": "propensity"},
]


async def test_facts_are_learned_from_as_they_were_logged(shop: Nextbest) -> None:
    """A model of features: live in the stream, warmed up from the archive, and replayed."""
    rng = random.Random(3)
    state = shop.api.state
    for path in ("customer.age", "context.reason"):
        kind = "string" if path == "context.reason" else "number"
        await shop.api.ok("PUT", f"/v1/attributes/{path}", json={"type": kind})
    for number in range(12):
        topics = {topic: rng.random() for topic in ("zoo", "art", "music", "a-long-topic")}
        body = {"attributes": {"age": 18 + rng.random() * 60}, "interests": topics}
        await shop.api.ok("PUT", f"/v1/customers/known-{number}", json=body)

    async def visits(customers: range) -> list[str]:
        made = []
        for number in customers:
            context = {"reason": rng.choice(("moving", "bill", "étage"))}
            answer = await decide(shop.api, f"known-{number}", "modelled", context=context)
            outcome = rng.choice(("accepted", "rejected"))
            await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], outcome)
            made.append(answer["decision_id"])
            await shop.worker.learn()
        return made

    spec = {"algorithm": "linear_thompson", "features": FEATURES}
    await shop.api.ok("POST", "/v1/policies", json=spec | {"name": "model"})
    await shop.worker.warm()
    place = {"channel": "web", "control_share": 0, "deadline_ms": 5000, "slots": 2}
    await shop.api.ok("PUT", "/v1/placements/modelled", json=place)

    async def followed() -> bool:
        return state.replica.epoch("model@1") is not None

    await eventually(followed, "the instance to follow the policy")
    stage = {"policy": "model@1", "stage": "champion", "force": True}
    await shop.api.ok("POST", "/v1/placements/modelled/policies", json=stage)
    await visits(range(12))
    await shop.worker.drain()
    await shop.api.ok("POST", "/v1/policies", json=spec | {"name": "model-too"})
    await shop.worker.warm()
    last = (await visits(range(12)))[-1]
    await shop.worker.drain()
    found = await arms_of(shop, "model@1")
    assert found == await arms_of(shop, "model-too@1")
    assert any(np.frombuffer(blob).any() for blob in found.values())
    again = await replay(last, state.archive, state.catalogues, state.roster)
    assert (again.identical, again.policy) == (True, "model@1")
    rebuilder = Rebuilder(state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    await rebuilder.rebuild()
    assert await arms_of(shop, "model@1") == found


async def test_what_the_caller_chose_survives_the_archive(shop: Nextbest) -> None:
    """An apprentice that was there, one that came later, and one whose arms were rebuilt: all know the same."""
    state = shop.api.state
    spec = {"algorithm": "apprentice", "placements": ["workshop", "history"]}
    await shop.api.ok("POST", "/v1/policies", json=spec | {"name": "pupil"})
    await shop.worker.warm()
    place = {"channel": "web", "control_share": 0, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/workshop", json=place)

    async def followed() -> bool:
        return state.replica.epoch("pupil@1") is not None

    await eventually(followed, "the instance to follow the policy")
    body = {"policy": "pupil@1", "stage": "champion", "force": True}
    await shop.api.ok("POST", "/v1/placements/workshop/policies", json=body)
    past = "customer_id,offer_id,decided_at,outcome\nh1,gold,2020-01-01T10:30:00Z,accepted\n"
    imported = await shop.api.call("POST", "/v1/imports/history", content=past, headers=CSV)
    assert imported.is_success

    async def visits(first: int, **wanted: list[str]) -> str:
        for number in range(first, first + 9):
            answer = await decide(shop.api, f"workshop-{number}", "workshop", **wanted)
            if number % 3:
                await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "rejected")
        return str(answer["decision_id"])

    await visits(0)
    await shop.api.ok("PUT", "/v1/placements/workshop/apprentice", json={"on": True})
    await visits(20, baseline=["silver"])
    await visits(40)  # without a baseline: the fallback decides
    await shop.worker.drain()
    await shop.api.ok("PUT", "/v1/placements/workshop/apprentice", json={"on": False})
    last = await visits(60, baseline=["silver"])
    await shop.api.ok("POST", "/v1/policies", json=spec | {"name": "pupil-too"})
    await shop.worker.drain()
    await shop.worker.warm()
    await shop.worker.expire(ahead_s=8 * 86_400)
    await shop.worker.drain()
    found = await arms_of(shop, "pupil@1")
    assert found == await arms_of(shop, "pupil-too@1")
    policy = state.roster["pupil@1"]
    assert isinstance(policy, ApprenticePolicy)
    table = ArmTable(policy.width)
    table.put_all(found.items())
    numbers = state.current_catalogue().numbers
    asked = np.array([numbers["gold"], numbers["silver"]], np.uint32)
    sums = table.read(policy, asked, policy.decay.tick(clock.now_ms() / 1000))
    assert (sums.own[:, 0] > 0.0).all()  # it learned from all outcomes, those of history too
    choices = sums.own[:, policy.learner.width]
    assert choices[0] == 0.0
    assert choices[1] == pytest.approx(9.0, rel=0.1)
    again = await replay(last, state.archive, state.catalogues, state.roster)
    assert (again.identical, again.policy) == (True, "pupil@1")
    rebuilder = Rebuilder(state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    await rebuilder.rebuild()
    assert await arms_of(shop, "pupil@1") == found


async def test_no_generation_comes_twice_though_none_of_its_folds_was_archived(shop: Nextbest) -> None:
    """Others may have seen its epochs: with other sums, their decisions could not be replayed."""
    state = shop.api.state
    key = await register(shop, "lost")
    await shop.worker.warm()
    arms = ArmStore(state.redis, state.keys)
    rebuilder = Rebuilder(state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    epochs = [await arms.load_epoch(key)]
    assert await state.archive.last_fold(key) == 0
    for _ in range(2):
        await state.redis.delete(state.keys.arms(key), state.keys.changes(key))
        await rebuilder.rebuild()
        epochs.append(await arms.load_epoch(key))
    assert epochs == [GENERATION, 2 * GENERATION, 3 * GENERATION]


async def test_the_log_is_read_in_parts(shop: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BATCH_SIZE", 7)
    parts = [len(part) async for part in shop.api.state.archive.observations()]
    assert len(parts) > 3
    assert max(parts) == 7


async def test_a_policy_learns_where_and_since_when_it_was_told(shop: Nextbest) -> None:
    await traffic(shop, 2000, 6, "home")
    await shop.worker.archive()
    since_ms = clock.now_ms()
    await traffic(shop, 2010, 6, "home")
    await traffic(shop, 2020, 6, "desk")
    await shop.worker.archive()
    where = await register(shop, "where", placements=("desk",))
    since = await register(shop, "since", learn_since_ms=since_ms)
    await shop.worker.warm()
    await traffic(shop, 2030, 6, "home")
    await traffic(shop, 2040, 6, "desk")
    await shop.worker.expire(ahead_s=8 * 86_400)
    await shop.worker.drain()
    for key in (where, since):
        spec = shop.api.state.roster.spec(key)
        expected = ArmTable(shop.api.state.roster[key].width)
        async for outcomes in shop.api.state.archive.observations():
            fits = [o for o in outcomes if not spec.placements or o.placement in spec.placements]
            fits = [o for o in fits if o.decided_at_ms >= spec.learn_since_ms]
            for name, delta in fold_outcomes(
                fits, PolicySpec("x", 1, "thompson"), shop.api.state.roster[key]
            )[0].items():
                expected.add(name, delta)
        assert await arms_of(shop, key) == dict(expected.fields()) != {}


async def test_a_shorter_reward_window_changes_what_was_learned(shop: Nextbest) -> None:
    """An acceptance that came after 100 s is a rejection for a policy that waits for 60 s."""
    at = datetime.now(UTC)
    await shop.api.ok("PUT", "/v1/placements/patience", json={"channel": "web", "deadline_ms": 5000})
    decision = await decide(shop.api, "patient", "patience")
    number = shop.api.state.current_catalogue().numbers[decision["offers"][0]["offer_id"]]
    later = {"occurred_at": (at + timedelta(seconds=100)).isoformat()}
    assert await tell(
        shop.api, decision["decision_id"], decision["offers"][0]["offer_id"], "accepted", **later
    )
    await shop.worker.drain()
    made = {}
    for name, window_s in (("slow", None), ("quick", 60)):
        made[name] = await register(shop, name, reward_window_s=window_s, placements=("patience",))
    await shop.worker.warm()
    await shop.worker.drain()
    accepted = {}
    for name, key in made.items():
        state = shop.api.state
        table = ArmTable(state.roster[key].width)
        table.put_all((await arms_of(shop, key)).items())
        sums = table.read(state.roster[key], np.array([number], np.uint32), 0).own[0]
        assert sums[0] > 0
        accepted[name] = sums[1]
    assert accepted["slow"] > accepted["quick"] == 0.0


async def test_redis_is_lost_while_a_policy_is_warmed_up(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries archived while the fold runs are not in the new streams: the warm start must notice."""
    await traffic(shop, 3000, 12)
    await shop.worker.drain()
    key = await register(shop, "unlucky")
    lost = asyncio.Event()

    async def losing(*arguments: Any, **named: Any) -> Any:
        folded = await fold_archive(*arguments, **named)
        if not lost.is_set():
            lost.set()
            await traffic(shop, 3020, 12)
            await shop.worker.drain()
            redis: Any = shop.api.state.redis
            await redis.flushall()
            await shop.worker.start()
        return folded

    monkeypatch.setattr(warming, "fold_archive", losing)
    await shop.worker.warm()
    assert lost.is_set()
    assert (await shop.api.state.policies.get(key)).state == "folding"
    await shop.worker.warm()
    assert (await shop.api.state.policies.get(key)).state == "live"
    await shop.worker.expire(ahead_s=8 * 86_400)
    await shop.worker.drain()
    assert await arms_of(shop, key) == await arms_of(shop, "thompson@1")


async def test_nothing_is_trimmed_while_a_policy_is_warmed_up(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis: Any = shop.api.state.redis
    await redis.config_set("stream-node-max-entries", 2)  # trimming goes by nodes: make them small
    try:
        await traffic(shop, 4000, 20)
        await shop.worker.drain()
        key = await register(shop, "slowly")

        async def busy(*arguments: Any, **named: Any) -> Any:
            await traffic(shop, 4020, 20)
            await shop.worker.drain()
            await traffic(shop, 4040, 20)
            await shop.worker.drain()
            return await fold_archive(*arguments, **named)

        monkeypatch.setattr(warming, "fold_archive", busy)
        await shop.worker.warm()
        assert (await shop.api.state.policies.get(key)).state == "live"
        monkeypatch.undo()
        await shop.worker.drain()
        assert await arms_of(shop, key) == await arms_of(shop, "thompson@1")
        longest = max([await redis.xlen(shop.api.state.keys.log(b)) for b in range(BUCKETS)])
        await traffic(shop, 4060, 20)
        await shop.worker.drain()
        await traffic(shop, 4080, 3)
        await shop.worker.drain()
        assert max([await redis.xlen(shop.api.state.keys.log(b)) for b in range(BUCKETS)]) < longest
    finally:
        await redis.config_set("stream-node-max-entries", 100)


async def test_a_warm_start_that_fails_says_why_and_is_done_again(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await register(shop, "stumbling")

    async def broken(*arguments: Any, **named: Any) -> Any:
        raise ArithmeticError("it does not add up")

    monkeypatch.setattr(warming, "fold_archive", broken)
    await shop.worker.warm()
    failed = await shop.api.state.policies.get(key)
    assert (failed.state, failed.error) == ("failed", "it does not add up")
    monkeypatch.undo()
    await shop.worker.warm()
    done = await shop.api.state.policies.get(key)
    assert (done.state, done.error) == ("live", None)


async def test_one_at_a_time_warms_a_policy_up(shop: Nextbest) -> None:
    key = await register(shop, "wanted")
    async with shop.api.state.policies.lock_warm_start(key) as alone:
        assert alone
        await shop.worker.warm()
        assert (await shop.api.state.policies.get(key)).state == "registered"
    await shop.worker.warm()
    assert (await shop.api.state.policies.get(key)).state == "live"


async def test_every_process_follows_a_new_policy(shop: Nextbest) -> None:
    key = await register(shop, "followed")
    await shop.worker.warm()
    async with shop.another() as other:
        for instance in (shop.api, other):
            state = instance.state

            async def followed(state: Any = state) -> bool:
                return key in state.roster and state.replica.epoch(key) is not None

            await eventually(followed, "the instance to follow the policy")
    assert (await shop.api.call("GET", "/readyz", role=None)).status_code == 200
