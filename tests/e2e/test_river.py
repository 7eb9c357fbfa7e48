"""A river pipeline learns live, decides, is replayed bit for bit; its owner may die or wake up late at any moment."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from app.worker.learning.model_trainer import ModelTrainer
from bandits.features import Feature
from bandits.policy import PolicySpec
from bandits.registry import BUILT_IN
from bandits.sequential_policy import MODEL_FIELD, is_sequential
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.model_replay_service import ModelReplay
from decisioning.evaluation.replay_service import replay
from decisioning.learning.store_arms import GENERATION, ModelStore
from decisioning.model.deployment import Canary, Deployment
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.recovery.store_rebuild import Rebuilder
from tests.support.installation import Api, Installation, place, publish
from tests.support.truth import Stores, look, stores, wait_caught_up
from tests.support.waiting import Deadline, eventually, wait_until, within

OFFERS = ("alpha", "beta", "gamma", "delta")
FEATURES = (
    Feature("age", "numeric", "customer.age", low=0.0, high=120.0),
    Feature("reason", "category", "context.reason", values=("cancel", "buy")),
)
SPEC = PolicySpec(
    "stream", 1, "river", {"factory": "bandits.river_factories:logistic", "epsilon": 0.2}, FEATURES
)
LATE = PolicySpec("late", 1, "river", {"factory": "bandits.river_factories:hoeffding_tree"}, FEATURES)
REPLACE = "decisioning.learning.store_arms:ModelStore.replace"


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    """A shop in which ``stream@1`` is the canary of all customers but one in a hundred."""
    api, worker = installation.serve(), installation.work("first")
    api.wait()
    publish(api, OFFERS)
    place(api, slots=2)
    for number in range(20):
        api.ok("PUT", f"/v1/customers/c{number}", {"attributes": {"age": 20 + 3 * number}})
    register(installation, SPEC)
    deploy(installation, SPEC.key)
    wait_until(lambda: scored_by(api, "c1") == SPEC.key, f"{SPEC.key} to decide", explain=worker.printed)
    worker.stop()
    return api


def run(installation: Installation, work: Any) -> Any:
    return look(installation, work)


def register(installation: Installation, spec: PolicySpec) -> None:
    assert run(installation, lambda found: PolicyStore(found.engine).register(spec, "tests"))


def deploy(installation: Installation, key: str) -> None:
    deployment = Deployment("web", champion="thompson@1", canary=Canary(key, 0.99, 1))
    store: Any = lambda found: CatalogueStore(found.engine)  # noqa: E731
    run(installation, lambda found: store(found).put("deployment", "web", body_of(deployment), "tests"))


def body_of(deployment: Deployment) -> dict[str, Any]:
    assert deployment.canary is not None
    canary = {"policy": deployment.canary.policy, "share": deployment.canary.share, "since_ms": 1}
    return {"placement_id": "web", "champion": deployment.champion, "canary": canary}


def scored_by(api: Api, customer_id: str) -> str:
    policy = api.decide(customer_id, dry_run=True)["policy"]
    return f"{policy['name']}@{policy['version']}"


def use(api: Api, count: int, seed: int) -> list[str]:
    """Decisions, most of them answered; returns their ids."""
    rng, made = random.Random(seed), []
    for _ in range(count):
        decision = api.decide(
            f"c{rng.randrange(20)}", context={"reason": rng.choice(("cancel", "buy", "else"))}
        )
        made.append(decision["decision_id"])
        for offer in decision["offers"]:
            if rng.random() < 0.8:
                outcome = "accepted" if rng.random() < 0.3 else "rejected"
                assert api.feedback(decision["decision_id"], offer["offer_id"], outcome) == "recorded"
    return made


async def check_model(found: Stores, spec: PolicySpec) -> int:
    """The stored model is that of the archived log, bit for bit; returns the epoch."""
    policy = Roster([spec])[spec.key]
    assert is_sequential(policy)
    arms = await found.arms.load(spec.key)
    assert arms is not None
    again = await ModelReplay(found.archive, spec, policy).model_at(arms.epoch)
    assert policy.pack(again) == arms.fields[MODEL_FIELD]
    return arms.epoch


def wait_and_check(installation: Installation, spec: PolicySpec = SPEC) -> int:
    wait_caught_up(installation, spec.key)
    return int(run(installation, lambda found: check_model(found, spec)))


def test_it_learns_live_decides_and_is_replayed(api: Api, installation: Installation) -> None:
    worker = installation.work("live")
    made: list[str] = []
    for seed in range(7):
        made += use(api, 12, seed)
        wait_and_check(installation)
    register(installation, LATE)
    roster = Roster([*BUILT_IN, SPEC, LATE])

    async def warm(found: Stores) -> bool:
        return (await PolicyStore(found.engine).get(LATE.key)).state == "live"

    wait_until(lambda: run(installation, warm), f"{LATE.key} to be live")
    deploy(installation, LATE.key)
    wait_until(lambda: scored_by(api, "c1") == LATE.key, f"{LATE.key} to decide")
    for seed in range(7, 12):
        made += use(api, 12, seed)
        wait_and_check(installation)
        wait_and_check(installation, LATE)

    async def check(found: Stores) -> dict[str, set[int]]:
        seen: dict[str, set[int]] = {}
        for decision_id in made:
            again = await replay(decision_id, found.archive, CatalogueStore(found.engine), roster)
            assert again.identical, decision_id
            seen.setdefault(again.policy, set()).add(again.epoch)
        return seen

    seen = run(installation, check)
    assert len(seen[SPEC.key]) > 5
    assert len(seen[LATE.key]) > 2
    assert worker.stop() == 0
    assert "a defect" not in worker.printed()
    deploy(installation, SPEC.key)
    wait_until(lambda: scored_by(api, "c1") == SPEC.key, f"{SPEC.key} to decide")


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_owner_that_is_killed_leaves_nothing_out_and_nothing_twice(
    api: Api, installation: Installation, when: str
) -> None:
    use(api, 30, seed=3 if when == "before" else 4)
    installation.work_until(REPLACE, when)
    use(api, 10, seed=5)
    worker = installation.work(f"after-{when}")
    wait_and_check(installation)
    worker.stop()


class Held:
    """A store whose first replacement waits until it is let go: an owner that is paused at the worst moment."""

    def __init__(self, models: ModelStore) -> None:
        self._models = models
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.replaced: list[int | None] = []

    async def own(self, *arguments: Any) -> str | None:
        return await self._models.own(*arguments)

    async def disown(self, *arguments: Any) -> bool:
        return await self._models.disown(*arguments)

    async def replace(self, *arguments: Any) -> int | None:
        if not self.go.is_set():
            self.reached.set()
            await within(self.go.wait(), "the test to let the owner go on")
        self.replaced.append(await self._models.replace(*arguments))
        return self.replaced[-1]


def teacher(installation: Installation, found: Stores, models: Any, lease_ms: int) -> ModelTrainer:
    roster = Roster([*BUILT_IN, SPEC])
    policy = roster[SPEC.key]
    assert is_sequential(policy)
    rebuilder = Rebuilder(
        found.engine, found.redis, found.keys, roster, CatalogueStore(found.engine), lambda: 0
    )
    return ModelTrainer(SPEC.key, roster, policy, found.reader, found.arms, models, rebuilder, lease_ms)


async def finish(work: ModelTrainer, found: Stores) -> None:
    """Rounds until there is nothing left to learn."""
    ends = await found.reader.last_positions()
    taught: object = None
    deadline = Deadline(f"{SPEC.key} to learn all that there is", progress=lambda: taught)
    while True:
        taught = await found.arms.load_positions(SPEC.key)
        if all(taught.get(bucket, StreamPosition.START) >= end for bucket, end in ends.items()):
            return
        deadline.check(taught)
        await work.round()


async def test_an_owner_that_wakes_up_late_overwrites_nothing(api: Api, installation: Installation) -> None:
    await asyncio.to_thread(use, api, 30, 6)
    async with stores(installation) as found:
        models = ModelStore(found.redis, found.keys)
        await found.redis.delete(found.keys.lease(SPEC.key))
        held = Held(models)
        late = teacher(installation, found, held, lease_ms=50)
        paused = asyncio.create_task(late.round())
        await within(held.reached.wait(), "the owner to store what it has learned")
        successor = teacher(installation, found, models, lease_ms=60_000)

        async def ended() -> bool:
            return not await found.redis.exists(found.keys.lease(SPEC.key))

        await eventually(ended, "the lease of the paused owner to end")
        await finish(successor, found)
        stored = await found.arms.load(SPEC.key)
        held.go.set()
        await paused
        assert held.replaced == [None]
        assert await found.arms.load(SPEC.key) == stored
        # It is not the owner any more, and waits until it can be.
        assert await late.round() > 0
        assert held.replaced == [None]
        await successor.close()
        await asyncio.to_thread(use, api, 10, 7)
        await finish(late, found)
        assert held.replaced[-1] is not None
        await late.close()
    worker = await asyncio.to_thread(installation.work, "archiving")
    await asyncio.to_thread(wait_and_check, installation)
    await asyncio.to_thread(worker.stop)


async def test_only_what_was_expected_is_replaced(api: Api, installation: Installation) -> None:
    async with stores(installation) as found:
        models, key = ModelStore(found.redis, found.keys), SPEC.key
        before = await found.arms.load(key)
        assert before is not None
        token = await models.own(key, "a", 60_000)
        assert token is not None
        assert await models.own(key, "a", 60_000) == token
        assert await models.own(key, "b", 60_000) is None
        assert not await models.disown(key, "b")
        bucket, position = next(iter(before.positions.items()))

        def replacing(token: str, epoch: int, at: str) -> Coroutine[Any, Any, int | None]:
            return models.replace(key, token, epoch, [(bucket, StreamPosition(at), position)], b"other")

        assert await replacing(str(int(token) - 1), before.epoch, position) is None
        assert await replacing(token, before.epoch - 1, position) is None
        assert await replacing(token, before.epoch + GENERATION, position) is None
        assert await replacing(token, before.epoch, "1-1") is None
        assert await found.arms.load(key) == before
        assert await models.disown(key, "a")
        newer = await models.own(key, "b", 60_000)
        assert newer is not None
        assert int(newer) > int(token)
        assert await replacing(token, before.epoch, position) is None
        assert await found.arms.load(key) == before
        await found.redis.delete(found.keys.lease(key), found.keys.fence(key))
        again = await models.own(key, "c", 60_000)
        assert again is not None
        assert int(again) > int(newer), "tokens rise, also after Redis has lost them"
        await models.disown(key, "c")
