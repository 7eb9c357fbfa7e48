"""A waiting decision takes little memory in Redis, whatever its context, and its answer is still given again."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from app.worker.archiver import RETAIN_MS, ArchiverJob
from decisioning.decide.context import DecisionInputs
from decisioning.log.ports import ReadReply
from storage import clock
from storage.errors import PostgresUnavailable
from storage.keys import FUNCTIONS
from tests.support.api import Instance, Nextbest, decide, put_offer, tell
from tests.support.inprocess import decision_service

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST_BYTES = 600
OFFERS = ("gold_card", "platinum_card", "cash_loan")
UNREAD = ["earlier_answer_unavailable"]
CONTEXTS: dict[str, dict[str, Any]] = {
    "small": {"reason": "browse"},
    "6 KB": {f"page_{number:02d}": "x" * 190 for number in range(30)},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(nextbest: Nextbest) -> AsyncIterator[Instance]:
    """A placement with three slots for three offers, one of them limited, and contexts of up to 16 KB.

    The server has what a server has of which nobody says otherwise.
    """
    redis: Any = nextbest.api.state.redis
    await redis.config_set("hash-max-listpack-value", 64)
    async with nextbest.another(context_bytes=16_384) as api:
        await api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow"})
        for offer_id in OFFERS:
            limits = [{"max": 1, "window_s": 86_400}] if offer_id == "cash_loan" else []
            await put_offer(api, offer_id, value=40, contact_limits=limits)
        body = {"channel": "web", "slots": 3, "control_share": 0, "deadline_ms": 5000}
        await api.ok("PUT", "/v1/placements/three", json=body)
        yield api
    await redis.config_set("hash-max-listpack-value", 256)


def archiver_of(nextbest: Nextbest, retain_ms: int = RETAIN_MS) -> ArchiverJob:
    job = nextbest.worker._archive
    return ArchiverJob(job.archiver, job.reader, job.arms, job.feed, 0.0, retain_ms=retain_ms)


async def forget_records(nextbest: Nextbest) -> None:
    """Archive and learn everything, and trim the streams as is done minutes later; twice, as after a crash."""
    await nextbest.worker.drain()
    state = nextbest.api.state
    for _ in range(2):
        for bucket in range(nextbest.settings.buckets):
            await state.redis.xtrim(state.keys.log(bucket), maxlen=0, approximate=False)


def place_of(api: Instance, customer_id: str, decision_id: str) -> str:
    keys = api.state.keys
    return keys.decision(keys.bucket(customer_id), decision_id)


@contextmanager
def without_postgres(api: Instance, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    async def refuse(*_: Any) -> None:
        raise PostgresUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(api.state.archive, "decision", refuse)
        yield


@pytest.mark.parametrize("context", CONTEXTS)
async def test_a_waiting_decision_of_three_offers_takes_600_bytes(
    three: Instance, nextbest: Nextbest, context: str
) -> None:
    redis: Any = three.state.redis
    answer = await decide(three, f"sized-{context[:1]}", "three", context=CONTEXTS[context])
    decision_id = answer["decision_id"]
    assert len(answer["offers"]) == 3
    await forget_records(nextbest)
    mine = [key async for key in redis.scan_iter() if decision_id.encode() in key]
    assert mine == [place_of(three, f"sized-{context[:1]}", decision_id).encode()]
    assert await redis.object("encoding", mine[0]) == b"listpack"
    size = await redis.memory_usage(mine[0])

    # Its share in a set of many, which is stored in another way than one of a few.
    pending = "nb:{b0}:pending-of-many"
    await redis.zadd(pending, {f"{decision_id[:-5]}{number:05d}": clock.now_ms() for number in range(10_000)})
    share = await redis.memory_usage(pending, samples=0) / 10_000
    await redis.delete(pending)
    assert size + share <= MOST_BYTES

    # Nothing that is needed is missing.
    for offer in answer["offers"]:
        assert await tell(three, decision_id, offer["offer_id"], "accepted") == "recorded"
    await nextbest.worker.drain()
    logged = await three.state.archive.decision(decision_id)
    assert logged is not None
    outcomes = await three.state.archive.outcomes(decision_id)
    expected = dict(zip(OFFERS, [None] * 3, strict=True)) | {
        offer.offer_id: (estimate, offer.factors.V if offer.factors else None)
        for offer, estimate in zip(logged.decision.offers, logged.decision.expected or (), strict=True)
    }
    told = {o.offer_id: (o.estimate, o.worth) for o in outcomes if o.outcome == "accepted"}
    assert told == expected


async def test_an_own_id_gets_its_answer_from_the_log_and_then_from_the_archive(
    three: Instance, nextbest: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> Any:
        return await decide(three, "again", "three", decision_id="own-again")

    answer = await ask()
    with without_postgres(three, monkeypatch):
        assert await ask() == answer  # not archived yet
        await nextbest.worker.learn()
        job = archiver_of(nextbest)
        for _ in range(2):
            await job.round()
        assert await three.state.archive.known({"own-again": await decided_at(three)})
        assert await ask() == answer  # archived a moment ago: Postgres is not needed
        assert (await three.ok("GET", "/v1/decisions/own-again"))["decision_id"] == "own-again"
    await forget_records(nextbest)
    assert await ask() == answer
    assert (await three.ok("GET", "/v1/decisions/own-again"))["archived"] is True

    # Neither store has it just now: something is answered, and nothing stands beside the first decision.
    stored = await three.state.redis.hgetall(place_of(three, "again", "own-again"))
    with without_postgres(three, monkeypatch):
        degraded = await ask()
        assert degraded["degraded"] == UNREAD
        assert degraded["feedback_until"] is None
        assert "cash_loan" not in {offer["offer_id"] for offer in degraded["offers"]}
    assert await three.state.redis.hgetall(place_of(three, "again", "own-again")) == stored
    assert await ask() == answer
    assert await tell(three, "own-again", answer["offers"][0]["offer_id"], "accepted") == "recorded"
    await nextbest.worker.drain()
    query = "SELECT 1 FROM decisions WHERE decision_id = 'own-again'"
    assert len(await three.state.archive._rows(query)) == 1


class ReadTooEarly:
    """A log whose reads find no earlier decision, as when another request writes it just afterwards."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, *arguments: Any, **more: Any) -> ReadReply:
        """Read, and see nothing of what the id names."""
        reply: ReadReply = await self._log.read(*arguments, **more)
        return replace(reply, owner=None, earlier=None, here=False)


async def test_who_finds_a_decision_only_when_writing_answers_it_too(
    three: Instance, nextbest: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = decision_service(three.state, decision_log=ReadTooEarly(three.state.decision_log))

    async def ask() -> Any:
        return await service.decide(DecisionInputs("raced", "three", {}, decision_id="own-raced"))

    answer = await decide(three, "raced", "three", decision_id="own-raced")
    limited = {offer["offer_id"] for offer in answer["offers"]} & {"cash_loan"}
    assert await ask() == answer
    await forget_records(nextbest)
    assert await ask() == answer
    stored = await three.state.redis.hgetall(place_of(three, "raced", "own-raced"))
    with without_postgres(three, monkeypatch):
        degraded = await ask()
    assert (degraded["degraded"], degraded["feedback_until"]) == (UNREAD, None)
    assert limited.isdisjoint(offer["offer_id"] for offer in degraded["offers"])
    assert await three.state.redis.hgetall(place_of(three, "raced", "own-raced")) == stored
    await service.close()


async def decided_at(api: Instance) -> int:
    return int(await api.state.redis.hget(place_of(api, "again", "own-again"), "d") or 0)


async def test_what_is_archived_is_trimmed_minutes_later_and_at_once_when_redis_is_full(
    three: Instance, nextbest: Nextbest
) -> None:
    redis: Any = three.state.redis
    log = three.state.keys.log(three.state.keys.bucket("full"))
    await redis.config_set("stream-node-max-entries", 2)  # trimming goes by nodes: make them small
    try:
        for _ in range(12):
            await decide(three, "full", "three")
        await nextbest.worker.learn()
        await archiver_of(nextbest).round()
        assert await redis.xlen(log) >= 12
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", int(used / 0.95))
        await archiver_of(nextbest).round()
        assert await redis.xlen(log) < 6
    finally:
        await redis.config_set("maxmemory", 0)
        await redis.config_set("stream-node-max-entries", 100)


async def test_while_another_version_runs_a_decision_is_one_that_it_can_read(
    three: Instance, nextbest: Nextbest
) -> None:
    redis: Any = three.state.redis
    functions, other = three.state.functions, "nextbest_00000000"
    await redis.hset(FUNCTIONS, other, clock.now_ms())
    await functions.keep()
    answer = await decide(three, "mixed", "three", decision_id="own-mixed")
    stored = await redis.hgetall(place_of(three, "mixed", "own-mixed"))
    assert stored[b"h"].startswith(b'{"decision_id":"own-mixed"')
    assert {f"e:{offer['offer_id']}".encode() for offer in answer["offers"]} <= stored.keys()
    await forget_records(nextbest)
    assert await decide(three, "mixed", "three", decision_id="own-mixed") == answer
    assert await tell(three, "own-mixed", answer["offers"][0]["offer_id"], "rejected") == "recorded"

    await redis.hset(FUNCTIONS, other, clock.now_ms() - 2 * 3_600_000)
    await functions.keep()
    await decide(three, "alone", "three", decision_id="own-alone")
    assert b"h" not in await redis.hgetall(place_of(three, "alone", "own-alone"))
    await redis.hdel(FUNCTIONS, other)
