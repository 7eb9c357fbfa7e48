"""Policies are swapped under load, and warmed up by workers that are killed."""

import asyncio
import contextlib
import random
from collections import Counter
from functools import partial
from typing import Any

import pytest

from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.model_replay_service import ReplayImpossible
from decisioning.evaluation.replay_service import Replayed, replay
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from tests.support.installation import START_S, Api, Installation, everywhere, place, publish
from tests.support.truth import POLICY, Stores, look, wait_caught_up
from tests.support.waiting import MAX_WAIT_S, wait_until, within

OFFERS = ("alpha", "beta", "gamma", "delta")
SWAPS = 24
BETWEEN = 40
"""Decisions from one swap to the next."""


@pytest.fixture(scope="module")
def apis(installation: Installation) -> tuple[Api, Api]:
    # On a busy machine a policy may be slow without a fault of its own; here none is to be paused for that.
    first, second = (installation.serve(policy_budget_ms="2000") for _ in range(2))
    worker = installation.work()
    for api in (first, second):
        api.wait()
    publish(first, OFFERS)
    place(first, slots=2, policy="thompson")
    everywhere(first, second)
    rng = random.Random(5)
    for number in range(60):
        answer = first.decide(f"early-{number}")
        outcome = rng.choice(("accepted", "rejected"))
        first.feedback(answer["decision_id"], answer["offers"][0]["offer_id"], outcome)
    wait_caught_up(installation)
    worker.stop()
    return first, second


def register(api: Api, name: str, **fields: Any) -> str:
    return str(api.ok("POST", "/v1/policies", {"name": name, "algorithm": "thompson", **fields})["policy"])


def state_of(api: Api, key: str) -> Any:
    return api.ok("GET", f"/v1/policies/{key.replace('@', '/')}")["state"]


def is_live(api: Api, key: str) -> bool:
    return bool(state_of(api, key) == "live")


@pytest.mark.parametrize(
    ("name", "step", "when"),
    [
        ("begun", "decisioning.policies.store:PolicyStore.begin_warm_start", "after"),
        ("folded", "decisioning.learning.store_warm_start:WarmStarter._put", "before"),
        ("in-place", "decisioning.learning.store_arms:ArmStore.reset", "after"),
    ],
)
def test_a_worker_that_is_killed_leaves_nothing_half_warm(
    installation: Installation, apis: tuple[Api, Api], name: str, step: str, when: str
) -> None:
    key = register(apis[0], name)
    installation.work_until(step, when)
    assert state_of(apis[0], key) == "folding"
    worker = installation.work()
    wait_until(partial(is_live, apis[0], key), f"{key} to be live", timeout_s=START_S)
    answer = apis[1].decide("late")
    apis[1].feedback(answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")

    async def equal(found: Stores) -> bool:
        expected, arms = await found.arms.load(POLICY), await found.arms.load(key)
        assert expected is not None
        assert arms is not None
        return arms.fields == expected.fields

    wait_until(lambda: look(installation, equal), "both policies to have learned the same", timeout_s=START_S)
    worker.stop()


def test_a_swap_under_load_loses_no_request_and_mixes_nothing(
    installation: Installation, apis: tuple[Api, Api]
) -> None:
    installation.work()
    keys = [register(apis[0], name) for name in ("left", "right")]
    for key in keys:
        wait_until(partial(is_live, apis[0], key), f"{key} to be live", timeout_s=START_S)
    answers = asyncio.run(hammer(apis, keys))
    counts = Counter(answer["policy"]["name"] for answer in answers)
    assert set(counts) == {"thompson", "left", "right"}
    assert [answer["degraded"] for answer in answers if answer["degraded"]] == []
    wait_caught_up(installation)
    sample = random.Random(6).sample(answers, 30)

    async def again(found: Stores) -> list[Replayed]:
        roster = Roster()
        await RosterFeed(PolicyStore(found.engine), roster).refresh()
        catalogues = CatalogueStore(found.engine)
        return [await replay(a["decision_id"], found.archive, catalogues, roster) for a in sample]

    def replayed() -> list[Replayed]:
        with contextlib.suppress(ReplayImpossible):  # folds of the other policies are archived a moment later
            return look(installation, again)
        return []

    made_again = wait_until(replayed, "the folds of all policies to be archived", timeout_s=START_S)
    for answer, made in zip(sample, made_again, strict=True):
        assert made.identical
        assert made.policy == "{name}@{version}".format(**answer["policy"])


async def hammer(apis: tuple[Api, Api], keys: list[str]) -> list[Any]:
    """Decisions and feedback through all processes, while champions are swapped; returns all answers."""
    answers: list[Any] = []
    answered, done = asyncio.Semaphore(0), asyncio.Event()

    async def ask(api: Api, name: str) -> None:
        async with api.client() as client:
            number = 0
            while not done.is_set():
                number += 1
                body = {"customer_id": f"{name}-{number}", "placement": "web"}
                response = await client.post("/v1/decisions", json=body)
                assert response.status_code == 200, response.text
                answer = response.json()
                answers.append(answer)
                answered.release()
                if number % 3 == 0:
                    told = {"decision_id": answer["decision_id"], "outcome": "accepted"}
                    told["offer_id"] = answer["offers"][0]["offer_id"]
                    assert (await client.post("/v1/feedback", json=told)).status_code == 200

    async def swap() -> None:
        async with apis[0].client() as client:
            for number in range(SWAPS):
                key = ("thompson@1", *keys)[(number + 1) % 3]
                body = {"policy": key, "stage": "champion", "force": True}
                response = await client.post("/v1/placements/web/policies", json=body)
                assert response.status_code == 200, response.text
                for _ in range(BETWEEN):
                    await answered.acquire()
        done.set()

    async def run_all() -> None:
        async with asyncio.TaskGroup() as group:
            for index, api in enumerate(apis):
                for number in range(2):
                    group.create_task(ask(api, f"c{index}{number}"))
            group.create_task(swap())

    await within(run_all(), f"{SWAPS} swaps under load", MAX_WAIT_S)
    return answers


def test_a_running_worker_looks_after_the_autopilot_of_a_placement(
    installation: Installation, apis: tuple[Api, Api]
) -> None:
    place(apis[0], "piloted", policy="random")
    path = "/v1/placements/piloted"
    apis[0].ok("PUT", f"{path}/autopilot", {"reason": "let it"})
    worker = installation.work()

    def candidate() -> Any:
        turn = apis[0].ok("GET", f"{path}/policies")["autopilot"]["turn"]
        return None if turn is None else (turn["policy"], turn["stage"])

    wait_until(candidate, "the first candidate to have its turn", timeout_s=START_S)
    assert candidate() == ("auto-calibrated@1", "shadow")
    wait_until(lambda: is_live(apis[0], "auto-calibrated@1"), "the candidate to be live", timeout_s=START_S)
    shown = apis[0].ok("DELETE", f"{path}/autopilot")
    assert "shadow" not in {part["stage"] for part in shown["policies"]}
    worker.stop()
