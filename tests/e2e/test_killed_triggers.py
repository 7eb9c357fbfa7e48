"""Triggers fire exactly once, and are decided once, although their worker is killed at every step and in between."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.installation import Api, Installation, installed, place, publish
from tests.support.receiver import WRITTEN_SECRET, Receiver, receiving, signature_of
from tests.support.truth import Stores, look, wait_caught_up
from tests.support.waiting import wait_until

STEPS = (
    ("decisioning.triggers.store_following:TriggerTurn.fire", "after"),
    ("decisioning.triggers.decision_service:FiringDecisions.decide", "before"),
    ("decisioning.triggers.decision_service:FiringDecisions.decide", "after"),
    ("app.worker.triggers.sending:TriggerSender.send", "after"),
    ("decisioning.triggers.store_delivery:FiringDeliveries.keep", "after"),
)
"""A worker kills itself there. After `fire`: what has fired is written, and not committed."""
LIVES_S = (0.1, 0.3)
"""So long after events begin to come, workers are killed from outside."""
ROUNDS = len(STEPS) + len(LIVES_S)
CUSTOMERS, EACH = 14, 4
CALLS = CUSTOMERS * EACH
WAIT_S = 1

# A minute after its worker died a firing is taken up again: the test lets that minute pass. What was claimed since
# then is another worker's.
_END_LEASES = """
UPDATE trigger_firings SET next_attempt_at = now() WHERE status IN ('due', 'decided')
AND next_attempt_at > now() + interval '30 s' AND updated_at <= to_timestamp(:killed) RETURNING firing_id
"""
_FIRINGS = """
SELECT firing_id::text, trigger_id, customer_id, cause ->> 'event_id' AS event_id, status, status_reason, decision_id
FROM trigger_firings
"""
_DECISIONS = "SELECT decision_id, customer_id, header FROM decisions WHERE header -> 'context' ? 'trigger'"


@pytest.fixture
def receiver_installation(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[Installation]:
    """An installation whose workers may call webhooks on loopback, and sign them."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "triggers").write_text(WRITTEN_SECRET)
    settings = {"webhook_secrets": secrets, "webhook_hosts": "127.0.0.1"}
    with installed(postgres_url, redis_url, tmp_path, **settings) as ours:
        yield ours


def declare(api: Api, webhook: str) -> None:
    """Declare events, and a trigger on each call, and on each basket that no order follows at once."""
    for name in ("call", "basket", "order"):
        api.ok("PUT", f"/v1/event-types/{name}", {"name": name.title()})
    deliver = {"webhook": webhook, "secret": "triggers"}
    fields = {"placement": "web", "again_after_s": 0, "within_s": 3600, "deliver": deliver}
    waits = {"event": "basket", "unless": ["order"], "after_s": WAIT_S}
    api.ok("PUT", "/v1/triggers/called", {"name": "Called", "on": {"event": "call"}} | fields)
    api.ok("PUT", "/v1/triggers/left", {"name": "Left a basket", "on": waits} | fields)


def events_of(round_: int) -> list[dict[str, Any]]:
    """The events that come in one round: calls of all customers in turn, and baskets."""
    calls = range(CALLS * round_ // ROUNDS, CALLS * (round_ + 1) // ROUNDS)
    found = [event("call", f"call-{n}", f"c{n % CUSTOMERS}") for n in calls]
    return found + [event("basket", f"basket-{n}", f"b{n}") for n in (2 * round_, 2 * round_ + 1)]


def is_ordered(n: int) -> bool:
    """Whether an order follows a basket: only where no worker runs until it is told, so that none is too late."""
    return n % 2 == 1 and n < 2 * len(STEPS)


def event(type_: str, event_id: str, customer: str) -> dict[str, Any]:
    """An event, as it is told."""
    return {"type": type_, "event_id": event_id, "customer_id": customer}


LEFT = tuple(n for n in range(2 * ROUNDS) if not is_ordered(n))
"""The baskets whose trigger fires."""


def tell(api: Api, round_: int) -> None:
    """Tell the events of a round; all must be acknowledged."""
    orders = [event("order", f"order-{n}", f"b{n}") for n in (2 * round_, 2 * round_ + 1) if is_ordered(n)]
    for items in filter(None, (events_of(round_), orders)):
        answers = api.ok("POST", "/v1/events/batch", {"items": items})["items"]
        assert {answer["status"] for answer in answers} == {"recorded"}


def end_leases(installation: Installation, killed_s: float) -> None:
    """Let the time pass for which firings are held for a worker that was killed (Unix time) and keeps none any more."""

    async def end(found: Stores) -> None:
        async with found.engine.begin() as connection:
            await connection.execute(text(_END_LEASES), {"killed": killed_s})

    look(installation, end)


def follows(installation: Installation) -> bool:
    """True if a worker has begun to follow the log for triggers: what is told from now on fires."""
    return bool(look(installation, lambda found: found.rows("SELECT 1 FROM trigger_positions LIMIT 1")))


def has_called(receiver: Receiver, times: int) -> bool:
    """True if webhooks were called so often."""
    return len(receiver.requests) >= times


def kill_all_the_way(api: Api, installation: Installation, receiver: Receiver) -> float:
    """Tell all events, a part in each round, in which a worker is killed. Returns when the last one was."""
    for round_, (step, when) in enumerate(STEPS):
        tell(api, round_)
        if step.endswith("keep"):
            receiver.statuses.append(503)  # decided, and to be sent again, when the worker dies
        installation.work_until(step, when)
        end_leases(installation, time.time())
    for number, life_s in enumerate(LIVES_S):
        wanted = len(receiver.requests) + 1
        worker = installation.work(f"short-{number}")
        tell(api, len(STEPS) + number)
        wait_until(partial(has_called, receiver, wanted), "a webhook to be called", explain=worker.printed)
        time.sleep(life_s)
        worker.kill()
        killed_s = time.time()
        end_leases(installation, killed_s)
    return killed_s


async def test_every_event_fires_once_and_is_decided_once_whenever_the_worker_is_killed(
    receiver_installation: Installation,
) -> None:
    installation = receiver_installation
    async with receiving() as receiver:
        await asyncio.to_thread(run, installation, receiver)
        firings = await asyncio.to_thread(look, installation, lambda found: found.rows(_FIRINGS))
        decisions = await asyncio.to_thread(look, installation, lambda found: found.rows(_DECISIONS))
        check(receiver, firings, decisions)


def run(installation: Installation, receiver: Receiver) -> None:
    """Declare, kill, and let one last worker do what is left."""
    api = installation.serve()
    worker = installation.work("first")
    api.wait()
    # Exactly as many as there are calls: a reservation that was made twice leaves none for the last call.
    publish(api, ["care"], limits=[{"max": EACH, "window_s": 86_400}])
    place(api)
    declare(api, receiver.url)
    wait_until(lambda: follows(installation), "a worker to follow the log", explain=worker.printed)
    worker.kill()
    killed_s = kill_all_the_way(api, installation, receiver)
    worker = installation.work("last")
    expected = CALLS + len(LEFT)

    def states() -> list[Any]:
        end_leases(installation, killed_s)
        query = "SELECT status, count(*) AS n FROM trigger_firings GROUP BY status ORDER BY status"
        return [(row.status, row.n) for row in look(installation, lambda found: found.rows(query))]

    def are_done() -> bool:
        found = dict(states())
        return sum(found.values()) == expected and not {"due", "decided"} & found.keys()

    wait_until(
        are_done,
        f"{expected} firings to be done with",
        progress=lambda: (states(), len(receiver.requests)),
        explain=lambda: f"{states()}\n{worker.printed()[-4000:]}",
    )
    wait_caught_up(installation)
    assert worker.running
    assert "a defect" not in worker.printed()


def check(receiver: Receiver, firings: list[Any], decisions: list[Any]) -> None:
    """Each event that should have fired has fired once, with one decision, and the receiver was told of that alone."""
    called = [("called", f"c{n % CUSTOMERS}", f"call-{n}") for n in range(CALLS)]
    left = [("left", f"b{n}", f"basket-{n}") for n in LEFT]
    assert sorted((f.trigger_id, f.customer_id, f.event_id) for f in firings) == sorted(called + left)

    undelivered = [(f.event_id, f.status, f.status_reason) for f in firings if f.status != "delivered"]
    assert undelivered == [], "a reservation that was made twice leaves none for the last call"
    decided = {firing.firing_id: firing.decision_id for firing in firings}
    assert len(set(decided.values())) == len(firings)
    logged = {decision.decision_id: decision for decision in decisions}
    assert sorted(d.decision_id for d in decisions) == sorted(decided.values()), "no decision beside those"
    for firing in firings:
        decision = logged[firing.decision_id]
        assert decision.customer_id == firing.customer_id
        assert decision.header["context"]["cause"]["event_id"] == firing.event_id

    told = defaultdict(list)
    for headers, body in receiver.requests:
        assert headers["webhook-signature"] == signature_of(headers, body)
        told[headers["webhook-id"]].append(body)
    assert set(told) == set(decided), "each was sent, under its own id"
    assert max(map(len, told.values())) > 1, "no worker was killed between sending and keeping that"
    for message, (headers, _) in zip(receiver.messages, receiver.requests, strict=True):
        data = message["data"]
        assert data["firing_id"] == headers["webhook-id"]
        assert data["decision"]["decision_id"] == decided[data["firing_id"]]
        assert [offer["offer_id"] for offer in data["decision"]["offers"]] == ["care"]
    assert all(len(set(bodies)) == 1 for bodies in told.values()), "what is sent again is the same"
