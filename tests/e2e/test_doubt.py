"""Behaviour if it is unknown whether Redis took a write, or if a policy fails in the middle of a decision."""

import asyncio
import os
import signal
import time
from typing import Any

import pytest

from app.embedded.servers import EmbeddedServers
from app.state import ApiState
from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.policy import BoolArray, Candidates, Distribution, FloatArray, Policy, PolicySpec
from decisioning.decide.policy_runner import MAX_SLOW_RUNS
from decisioning.decide.service import DecisionInputs, DecisionService
from decisioning.policies.roster import Roster
from storage import clock
from storage.errors import RedisUnavailable
from storage.redis_pipe import Pipe
from tests.support.inprocess import decision_service, state_of
from tests.support.installation import Installation, place, publish
from tests.support.outages import pid_of
from tests.support.truth import check_roll_ups, stores
from tests.support.waiting import eventually


class SilentAtWriting:
    """A log whose Redis falls silent just before the write, and goes on later with what it was sent."""

    def __init__(self, state: ApiState, redis_pid: int, silent_s: float) -> None:
        self._log = state.decision_log
        self._pid = redis_pid
        self._silent_s = silent_s
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def decide(self, *arguments: Any, **more: Any) -> Any:
        """Stop Redis, and send."""
        self.asked += 1
        os.kill(self._pid, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(self._silent_s, os.kill, self._pid, signal.SIGCONT)
        return self._log.decide(*arguments, **more)


@pytest.mark.parametrize(
    ("placement", "degraded", "offers"),
    [("web", "contact_history_unavailable", {"open"}), ("quick", "deadline_exceeded", {"open"})],
)
async def test_a_decision_in_doubt_is_taken_back(
    own_servers: EmbeddedServers,
    own_installation: Installation,
    placement: str,
    degraded: str,
    offers: set[str],
) -> None:
    """Redis executes the write after the caller was answered otherwise: neither limit nor arm may feel it."""
    # Times that a busy machine does not use up before the write is sent: the deadline of "quick" is half of a stall.
    own_installation.settings = own_installation.settings.model_copy(update={"redis_stall_ms": 2_000})
    await asyncio.to_thread(prepare, own_installation)
    async with state_of(own_installation) as state, stores(own_installation) as found:
        # What a process does at its first decision alone does not count against the deadline.
        await decision_service(state).decide(DecisionInputs("customer", placement, {}, dry_run=True))
        log = SilentAtWriting(state, pid_of(own_servers, "redis"), 3.0)
        service = decision_service(state, decision_log=log)
        answer = await service.decide(DecisionInputs("customer", placement, {}))
        assert log.asked == 1, "the answer was given before Redis was sent anything"
        assert {offer["offer_id"] for offer in answer["offers"]} == offers
        assert answer["degraded"] == [degraded]
        assert answer["feedback_until"] is None

        async def withdrawn() -> bool:
            return len(await found.rows("SELECT 1 FROM outcomes WHERE outcome = 'withdrawn'")) == 2

        # Both offers of the one decision that Redis had been sent.
        await eventually(withdrawn, "the decision to be withdrawn")
        await eventually(found.caught_up, "the worker to catch up", progress=lambda: found.reached)
        assert await found.redis.zcard(found.keys.contact("customer")) == 0
        assert [name async for name in found.redis.scan_iter("nb:*:decision:*")] == []
        arms = await found.arms.load("thompson@1")
        assert arms is not None
        # Silence was learned with the decision, and taken back with it: exactly.
        assert not any(any(blob) for blob in arms.fields.values())
        await check_roll_ups(found)
        rows = await found.rows("SELECT sum(decided) AS decided FROM acceptance")
        assert rows[0].decided == 0
        await service.close()


def prepare(installation: Installation) -> None:
    """A worker, and two offers of which one has a limit, in two slots."""
    api = installation.serve()
    installation.work()
    api.wait()
    publish(api, ["open"])
    publish(api, ["limited"], limits=[{"max": 1, "window_s": 3600}])
    place(api, slots=2, reward_window_s=30)
    place(api, "quick", slots=2, reward_window_s=30, deadline_ms=1_000, default_offers=["open"])
    api.process.kill()


async def test_a_command_on_a_connection_that_was_just_lost_fails_at_once() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n", b"$0\r\n\r\n"):  # to TIME and INFO
            await reader.readuntil(b"*1")
            writer.write(reply)
        await reader.readuntil(b"GET")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pipe = Pipe(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", retry_ms=60_000)
    await pipe.start()
    try:
        lost = pipe.call("GET", "key")
        with pytest.raises(RedisUnavailable):
            await lost  # this task runs again before the keeper of the connection does
        with pytest.raises(RedisUnavailable):
            pipe.call("GET", "key")
    finally:
        await pipe.stop()
        server.close()
        await server.wait_closed()


class FailingPolicy(CalibratedPolicy):
    """A policy that raises instead of choosing."""

    def selector(self, prepared: Any, candidates: Candidates) -> Distribution:
        """Never gives one."""

        def fail(available: BoolArray) -> FloatArray:
            raise ArithmeticError("this policy is broken")

        return fail


class SlowPolicy(CalibratedPolicy):
    """A policy that takes longer than its budget."""

    def propensities(self, prepared: Any, candidates: Candidates) -> FloatArray:
        """After a while."""
        time.sleep(0.03)
        return super().propensities(prepared, candidates)


class Doctored(Roster):
    """Has another policy under the name of the placement's."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policies["calibrated@1"] = policy


def with_policy(state: ApiState, kind: type[CalibratedPolicy]) -> DecisionService:
    """The service with another algorithm under the name of the placement's policy.

    Its clock stands still: a pause of a policy lasts, however long a busy machine takes for the next decision.
    """
    started_ms = clock.now_ms()
    roster = Doctored(kind(PolicySpec("calibrated", 1, "calibrated")))
    return decision_service(state, roster=roster, clock=lambda: started_ms)


async def test_invariant_4_a_policy_that_fails_or_is_slow_is_replaced(own_installation: Installation) -> None:
    await asyncio.to_thread(prepare, own_installation)
    async with state_of(own_installation) as state:
        failing = with_policy(state, FailingPolicy)
        answer = await failing.decide(DecisionInputs("one", "web", {}))
        assert answer["degraded"] == ["policy_failed"]
        assert answer["policy"] == {"name": "propensity", "version": 1}
        assert len(answer["offers"]) == 2
        assert answer["feedback_until"] is not None  # it is a decision like any other, with its probability
        assert all(offer["probability"] is not None for offer in answer["offers"])

        slow = with_policy(state, SlowPolicy)
        for _ in range(MAX_SLOW_RUNS):
            assert (await slow.decide(DecisionInputs("two", "web", {})))["policy"]["name"] == "calibrated"
        answer = await slow.decide(DecisionInputs("two", "web", {}))
        assert answer["degraded"] == ["policy_slow"]
        assert answer["policy"]["name"] == "propensity"
        assert answer["offers"]
