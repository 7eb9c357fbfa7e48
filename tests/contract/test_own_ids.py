"""Own ids of callers where slow answers, retries and withdrawals meet: an answer that was given is never taken back."""

import asyncio
import os
import random
from collections import Counter
from typing import Any

import pytest
import pytest_asyncio

from app.state import ApiState
from decisioning.decide.service import DecisionInputs, DecisionService
from decisioning.log.owners import OWNER_TTL_MS
from storage import clock
from storage.clock import DAY_MS
from tests.support.api import Instance, Nextbest, decide, put_offer, tell
from tests.support.inprocess import decision_service
from tests.support.waiting import eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS = 16
LIMIT = {"max": 1, "window_s": 86_400}


class SlowReplies:
    """A log whose writes reach Redis at once, and whose replies come late: as behind a slow network."""

    def __init__(self, state: ApiState, rng: random.Random, at_most_s: float) -> None:
        self._log = state.decision_log
        self._rng = rng
        self._at_most_s = at_most_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def decide(self, *arguments: Any, **more: Any) -> "asyncio.Task[Any]":
        """Write, and keep the reply back."""
        return asyncio.create_task(self._late(self._log.decide(*arguments, **more)))

    async def withdraw(self, *arguments: Any) -> None:
        """Withdraw after a while."""
        await asyncio.sleep(self._rng.random() * self._at_most_s)
        await self._log.withdraw(*arguments)

    async def _late(self, write: "asyncio.Task[Any]") -> Any:
        reply = await write
        await asyncio.sleep(self._rng.random() * self._at_most_s)
        return reply


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def once(nextbest: Nextbest) -> Instance:
    """A placement with one offer that everybody may get once a day, and a deadline that is often missed."""
    api = nextbest.api
    await api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow"})
    await put_offer(api, "once", contact_limits=[LIMIT])
    body = {"channel": "web", "slots": 1, "control_share": 0, "deadline_ms": 250}
    await api.ok("PUT", "/v1/placements/hurried", json=body)
    return api


async def ask(service: DecisionService, customer_id: str, decision_id: str) -> dict[str, Any]:
    return await service.decide(DecisionInputs(customer_id, "hurried", {}, decision_id=decision_id))


async def test_a_retry_gets_an_answer_that_stands(once: Instance) -> None:
    """Invariants 2 and 3: what a retry was answered takes feedback, and uses the limit up, whatever the first did."""
    rng = random.Random(11)
    state = once.state
    services = [decision_service(state, decision_log=SlowReplies(state, rng, 0.8)) for _ in range(2)]
    answered: dict[str, dict[str, Any]] = {}
    seen: Counter[str] = Counter()

    async def visit(customer_id: str) -> None:
        """Ask until there is an answer that takes feedback, as a frontend with retries does."""
        decision_id = f"own-{customer_id}"
        for attempt in range(40):
            answer = await ask(services[attempt % 2], customer_id, decision_id)
            if answer["feedback_until"] is not None and answer["offers"]:
                answered[customer_id] = answer
                return
            seen["retried"] += 1
            await asyncio.sleep(rng.random() * 0.1)
        pytest.fail(f"{customer_id} got no answer: {answer}")

    await asyncio.gather(*(visit(f"c{number}") for number in range(CUSTOMERS)))
    for service in services:
        await service.close()
    assert seen["retried"] > CUSTOMERS / 4
    for customer_id, answer in answered.items():
        assert await ask(services[0], customer_id, answer["decision_id"]) == answer
        assert await tell(once, answer["decision_id"], "once", "accepted") == "recorded"
        again = await decide(once, customer_id, "hurried", deadline_ms=5000)
        assert again["offers"] == []
    for service in services:
        await service.close()


class LateFirst:
    """The log of a first attempt: it writes once the second has read, and its reply comes when ``given_up`` is set."""

    def __init__(self, state: ApiState) -> None:
        self._log = state.decision_log
        self.other_read, self.written, self.given_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def decide(self, *arguments: Any) -> "asyncio.Task[Any]":
        """Write, and keep the reply back."""
        return asyncio.create_task(self._decide(*arguments))

    async def _decide(self, *arguments: Any) -> Any:
        await self.other_read.wait()
        reply = await self._log.decide(*arguments)
        self.written.set()
        await self.given_up.wait()
        return reply


class Second:
    """The log of a second attempt, which reads before the first has written. It goes on when ``resume`` is set."""

    def __init__(self, state: ApiState, first: LateFirst, resume: asyncio.Event) -> None:
        self._log, self._first, self._resume = state.decision_log, first, resume

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, *arguments: Any) -> Any:
        """Read, and hand that on later."""
        reply = await self._log.read(*arguments)
        self._first.other_read.set()
        await self._resume.wait()
        return reply


@pytest.mark.parametrize("is_archived", [False, True])
async def test_an_attempt_that_overlaps_with_another_gets_an_answer_that_stands(
    nextbest: Nextbest, once: Instance, is_archived: bool
) -> None:
    """Both read before either wrote, in the same millisecond; the second finds it in Redis, or in the archive."""
    state, now_ms, resume = once.state, clock.now_ms(), asyncio.Event()
    first = LateFirst(state)
    services = [
        decision_service(state, decision_log=log, clock=lambda: now_ms, entropy=lambda: os.urandom(16))
        for log in (first, Second(state, first, resume))
    ]
    customer, decision_id = f"overlapping-{is_archived}", f"own-overlapping-{is_archived}"
    late, answered = (
        asyncio.create_task(
            service.decide(
                DecisionInputs(customer, "hurried", {}, decision_id=decision_id, deadline_ms=deadline_ms)
            )
        )
        for service, deadline_ms in zip(services, (1500, 60_000), strict=True)
    )
    await within(first.written.wait(), "the first attempt to write")
    if is_archived:
        await nextbest.worker.drain()
    resume.set()
    answer = await within(answered, "the second attempt to be answered")
    assert (await late)["degraded"] == ["deadline_exceeded"]
    first.given_up.set()
    for service in services:
        await service.close()
    assert [offer["offer_id"] for offer in answer["offers"]] == ["once"]
    assert answer["feedback_until"] is not None
    assert await tell(once, decision_id, "once", "accepted") == "recorded"


async def test_what_nobody_asked_for_again_is_taken_back(once: Instance) -> None:
    state = once.state
    service = decision_service(state, decision_log=SlowReplies(state, random.Random(1), 0.8))
    lonely = [f"lonely-{number}" for number in range(10)]
    answers = {name: await ask(service, name, f"own-{name}") for name in lonely}
    unheard = [name for name, answer in answers.items() if answer["feedback_until"] is None]
    assert unheard

    async def taken_back() -> bool:
        keys = [state.keys.decision(state.keys.bucket(name), f"own-{name}") for name in unheard]
        return await state.redis.exists(*keys) == 0

    await eventually(taken_back, "undelivered decisions to be taken back")
    # The archive may still hold it as given, or not: what is known to be withdrawn is decided anew.
    answer = await decide(once, unheard[0], "hurried", decision_id=f"own-{unheard[0]}", deadline_ms=5000)
    assert [offer["offer_id"] for offer in answer["offers"]] == ["once"]
    assert await tell(once, answer["decision_id"], "once", "rejected") == "recorded"


async def test_an_own_id_is_known_for_as_long_as_its_decision_waits(once: Instance) -> None:
    body = {"channel": "web", "slots": 1, "control_share": 0, "reward_window_s": 90 * 86_400}
    await once.ok("PUT", "/v1/placements/patient", json=body)
    answer = await decide(once, "patient", "patient", decision_id="own-patient")
    keys = once.state.keys
    owner = keys.owner("own-patient")
    waits_ms = await once.state.redis.pttl(keys.decision(keys.bucket("patient"), "own-patient"))
    assert await once.state.redis.pttl(owner) > waits_ms > 90 * DAY_MS
    # An earlier attempt, by a process of an earlier version or for a shorter window, left a note that ends too soon.
    await once.state.redis.pexpire(owner, OWNER_TTL_MS)
    assert await decide(once, "patient", "patient", decision_id="own-patient") == answer
    assert await once.state.redis.pttl(owner) > waits_ms
