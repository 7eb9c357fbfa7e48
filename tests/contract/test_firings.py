"""Firings of triggers: decided once, within all limits; delivered at least once, in time, or said why not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from typer.testing import CliRunner

from app.commands.triggers.firings import _send_all, app
from app.worker.triggers.delivering import MAX_AT_ONCE
from decisioning.model.trigger import Trigger, TriggerChannel, TriggerDelivery
from decisioning.triggers.store_delivery import LEASE_MS, FiringDeliveries
from decisioning.triggers.store_outbox import TriggerStreams
from storage.errors import RedisUnavailable
from storage.keys import OUTBOXES
from tests.support.api import CSV, Nextbest, problem_of, put_offer
from tests.support.firings import ON, World, to
from tests.support.receiver import WRITTEN_SECRET, receiving, signature_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shop: Nextbest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The shop, with three channels: `sms` and `call` need consent, `call` is worth more; `mail` is for all."""
    secrets = tmp_path_factory.mktemp("secrets")
    (secrets / "triggers").write_text(WRITTEN_SECRET)
    api = shop.api
    for channel in ("sms", "call", "mail"):
        await put_offer(
            api, f"by-{channel}", value=30, requires_consent=None if channel == "mail" else "care"
        )
        await api.ok(
            "PUT", f"/v1/offers/by-{channel}/treatments/text",
            json={"channel": channel, "language": "en", "title": f"By {channel}"},
        )  # fmt: skip
        placement = {"channel": channel, "policy": "propensity", "control_share": 0, "deadline_ms": 5000}
        await api.ok("PUT", f"/v1/placements/{channel}", json=placement)
    found = World(shop, secrets)
    try:
        yield found
    finally:
        await found.close()


async def put_customer(
    world: World, customer: str, consents: list[str], propensities: Mapping[str, float], **attributes: Any
) -> None:
    """A customer who agreed to be contacted in some channels, with propensities by offer."""
    api = world.nextbest.api
    body = {"attributes": attributes, "consents": {"care": consents}}
    await api.ok("PUT", f"/v1/customers/{customer}", json=body)
    rows = [f"{customer},{offer},{p}" for offer, p in propensities.items()]
    content = "\n".join(["customer_id,offer_id,propensity", *rows])
    await api.ok("POST", "/v1/imports/propensities", content=content, headers=CSV)


async def test_a_firing_is_decided_and_delivered_with_a_signature(world: World) -> None:
    async with receiving() as receiver:
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver), "ann")
        await world.work(worker)
        row = await world.read(firing_id)
        assert (row.status, row.status_reason, row.attempts) == ("delivered", None, 1)
        ((headers, body),) = receiver.requests
        assert headers["webhook-id"] == firing_id
        assert headers["webhook-signature"] == signature_of(headers, body)
        (message,) = receiver.messages
        data = message["data"]
        assert message["type"] == "trigger.fired"
        assert (data["trigger"], data["customer_id"], data["channel"]) == ("dropped", "ann", "mail")
        assert data["cause"]["event"] == "call_dropped"
        assert data["decision"]["offers"][0]["treatment"]["title"] == "By mail"
        (decision,) = await world.decisions_of("ann")
        assert decision["decision_id"] == data["decision"]["decision_id"] == row.decision_id
        assert decision["context"] == {"trigger": "dropped", "cause": data["cause"]}


async def test_a_stream_gets_what_a_webhook_would(world: World) -> None:
    trigger = Trigger("streamed", ON, TriggerDelivery(stream="nb:triggered"), "mail")
    (firing_id,) = await world.fire(trigger, "sue")
    await world.work(world.worker())
    redis: Any = world.nextbest.api.state.redis
    ((_, entry),) = await redis.xrange("nb:triggered")
    assert entry[b"id"].decode() == firing_id
    assert b'"customer_id":"sue"' in entry[b"body"]
    assert (await world.read(firing_id)).status == "delivered"


async def test_a_stream_is_found_by_erasures_also_after_redis_was_lost(world: World) -> None:
    redis: Any = world.nextbest.api.state.redis
    streams = TriggerStreams(redis)
    for number in range(2):
        await redis.delete(OUTBOXES, "nb:lost")
        await streams.put("nb:lost", f"f{number}", "{}")
        assert await redis.sismember(OUTBOXES, "nb:lost")
        assert await redis.xlen("nb:lost") == 1


CHANNELS = (TriggerChannel("sms", 0.05), TriggerChannel("call", 4.0), TriggerChannel("mail", 0.0))


@pytest.mark.parametrize(
    ("customer", "consents", "propensities", "attributes", "expected"),
    [
        ("best-call", ["*"], {"by-sms": 0.5, "by-call": 0.8, "by-mail": 0.1}, {}, "call"),
        ("best-sms", ["*"], {"by-sms": 0.5, "by-call": 0.6, "by-mail": 0.1}, {}, "sms"),
        ("no-sms", ["call"], {"by-sms": 0.5, "by-call": 0.3, "by-mail": 0.1}, {}, "call"),
        ("no-consent", [], {"by-sms": 0.5, "by-call": 0.9, "by-mail": 0.1}, {}, "mail"),
        ("prefers", ["*"], {"by-sms": 0.5, "by-call": 0.8, "by-mail": 0.1}, {"preferred_channel": "mail, sms"}, "mail"),
        ("too-dear", ["call"], {"by-call": 0.1, "by-mail": 0.0}, {"preferred_channel": "call"}, None),
    ],
)  # fmt: skip
async def test_the_best_channel_is_that_of_a_plain_calculation(
    world: World,
    customer: str,
    consents: list[str],
    propensities: dict[str, float],
    attributes: dict[str, Any],
    expected: str | None,
) -> None:
    await put_customer(world, customer, consents, propensities, **attributes)
    async with receiving() as receiver:
        (firing_id,) = await world.fire(to(receiver, channels=CHANNELS), customer)
        await world.work(world.worker())
        row = await world.read(firing_id)
        if expected is None:
            assert row.status == "nothing"
            assert "call: 3 is expected, and a contact costs 4" in row.status_reason
            assert receiver.requests == []
            return
        (message,) = receiver.messages
        assert message["data"]["placement"] == expected
        # The comparison itself leaves nothing behind.
        assert [d["placement"] for d in await world.decisions_of(customer)] == [expected]


async def test_nothing_to_offer_is_said_with_what_stopped_the_offers(world: World) -> None:
    async with receiving() as receiver:
        (firing_id,) = await world.fire(to(receiver, "sms"), "nobody")
        await world.work(world.worker())
        row = await world.read(firing_id)
    assert (row.status, receiver.requests) == ("nothing", [])
    assert "sms: stopped by" in row.status_reason
    assert "consent 'care' (1)" in row.status_reason


async def test_wrong_answers_are_tried_again_later_and_later_until_one_takes_it(world: World) -> None:
    async with receiving() as receiver:
        receiver.statuses = [500, 301, 404]
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver), "bob")
        pauses = []
        for _ in range(4):
            await world.work(worker)
            row = await world.read(firing_id)
            if row.next_attempt_at is not None:
                pauses.append((row.next_attempt_at - row.updated_at).total_seconds())
                assert row.status == "decided"
                world.ahead_ms += round(pauses[-1] * 1000) + 1
        assert row.status == "delivered"
        assert pauses == pytest.approx([0.75, 1.5, 3.0], abs=0.3)
        assert len({body for _, body in receiver.requests}) == 1
        assert {headers["webhook-id"] for headers, _ in receiver.requests} == {firing_id}
        assert len(await world.decisions_of("bob")) == 1


async def test_what_cannot_be_delivered_in_time_fails_and_is_sent_again_by_hand(world: World) -> None:
    async with receiving() as receiver:
        receiver.statuses = [503, 503]
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver), "cid", within_s=4)
        for _ in range(3):
            await world.work(worker)
            world.ahead_ms += 2000
        row = await world.read(firing_id)
        assert (row.status, row.status_reason) == ("failed", "the webhook: answered 503")
        deliveries = FiringDeliveries(world.nextbest.api.state.engine)
        assert await deliveries.send_again(firing_id, world.now_ms()) is not None
        await world.work(worker)
        assert (await world.read(firing_id)).status == "delivered"
        assert len(await world.decisions_of("cid")) == 1
        assert await deliveries.send_again(firing_id, world.now_ms()) is None


async def test_what_nobody_took_up_in_time_is_dropped_and_never_decided(world: World) -> None:
    async with receiving() as receiver:
        (firing_id,) = await world.fire(to(receiver), "dan", within_s=60)
        world.ahead_ms += 60_001
        await world.work(world.worker())
        row = await world.read(firing_id)
        assert (row.status, receiver.requests) == ("dropped", [])
        assert "its time was over" in row.status_reason
        assert await world.decisions_of("dan") == []


async def test_firings_of_a_trigger_that_is_gone_are_dropped(world: World) -> None:
    async with receiving() as receiver:
        (firing_id,) = await world.fire(to(receiver, trigger_id="gone"), "eve")
        del world.triggers["gone"]
        await world.worker().round()
        row = await world.read(firing_id)
        assert (row.status, row.status_reason) == ("dropped", "the trigger is not in the catalogue any more")


async def test_a_worker_with_an_older_catalogue_leaves_what_it_does_not_know(world: World) -> None:
    async with receiving() as receiver:
        (firing_id,) = await world.fire(to(receiver, trigger_id="new"), "flo")
        del world.triggers["new"]
        world.version = 0
        await world.worker().round()
        assert (await world.read(firing_id)).status == "due"
        world.version = 1
        await world.worker().round()
        assert (await world.read(firing_id)).status == "dropped"


class Killed(BaseException):
    """A worker is killed at this step."""


STEPS = ("compare", "plan", "ask", "decide", "send", "sent", "keep")


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_between_any_two_steps_delivers_and_decides_once(
    world: World, step: str
) -> None:
    customer = f"killed-{step}"
    await put_customer(world, customer, ["*"], {"by-sms": 0.5, "by-call": 0.8})
    async with receiving() as receiver:
        trigger = to(receiver, channels=CHANNELS)
        (firing_id,) = await world.fire(trigger, customer)
        state = world.nextbest.api.state
        with pytest.raises(Killed):
            await kill_at(world, step, firing_id)
        assert (await world.read(firing_id)).status == "due"
        # Another worker waits until the lease has ended; meanwhile the best channel has become another one.
        await world.work(world.worker())
        assert (await world.read(firing_id)).status == "due"
        world.ahead_ms += LEASE_MS
        if step not in ("compare", "plan"):
            await put_customer(world, customer, ["*"], {"by-sms": 0.9, "by-call": 0.1})
        await world.work(world.worker())
        assert (await world.read(firing_id)).status == "delivered"
        assert {message["data"]["placement"] for message in receiver.messages} == {"call"}
        assert len(receiver.requests) == (2 if step in ("sent", "keep") else 1)
        assert len(await world.decisions_of(customer)) == 1
        assert state.capacity_leases is not None


@pytest.mark.parametrize("step", ["decide", "sent", "keep"])
@pytest.mark.parametrize("edited", [{"placement": "sms"}, {"channels": CHANNELS}], ids=["other", "channels"])
async def test_a_firing_is_decided_for_one_placement_though_its_trigger_is_edited(
    world: World, step: str, edited: dict[str, Any]
) -> None:
    customer = f"edited-{step}-{'-'.join(edited)}"
    await put_customer(world, customer, ["*"], {"by-sms": 0.9, "by-call": 0.8, "by-mail": 0.1})
    async with receiving() as receiver:
        (firing_id,) = await world.fire(to(receiver, "mail"), customer)
        with pytest.raises(Killed):
            await kill_at(world, step, firing_id)
        world.triggers["dropped"] = to(receiver, **edited)
        world.ahead_ms += LEASE_MS
        await world.work(world.worker())
        assert (await world.read(firing_id)).status == "delivered"
        assert [decision["placement"] for decision in await world.decisions_of(customer)] == ["mail"]
        assert {message["data"]["placement"] for message in receiver.messages} == {"mail"}


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(("step", "sent"), [("plan", None), ("ask", None), ("decide", 0), ("sent", 1)])
async def test_nothing_else_is_decided_though_the_first_placement_is_removed_meanwhile(
    world: World, step: str, sent: int | None, archived: bool
) -> None:
    """Where it was not asked before it was removed, the next one of the channels is."""
    api, customer, first = world.nextbest.api, f"removed-{step}-{archived}", f"first-{step}-{archived}"
    await put_customer(world, customer, ["*"], {"by-sms": 0.1, "by-call": 0.9})
    placement = {"channel": "call", "policy": "propensity", "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", f"/v1/placements/{first}", json=placement)
    async with receiving() as receiver:
        channels = (TriggerChannel(first, 4.0), TriggerChannel("sms", 0.05))
        (firing_id,) = await world.fire(to(receiver, channels=channels), customer)
        with pytest.raises(Killed):
            await kill_at(world, step, firing_id)
        if archived:
            await world.nextbest.worker.archive()
        removed = await api.call("DELETE", f"/v1/placements/{first}", role="admin")
        assert removed.is_success, removed.text
        await world.nextbest.api.state.refresh()
        world.ahead_ms += LEASE_MS
        await world.work(world.worker())
        row, placements = await world.read(firing_id), {m["data"]["placement"] for m in receiver.messages}
        made = [decision["placement"] for decision in await world.decisions_of(customer)]
        if sent is None:
            # Killed before the plan was kept, it is compared anew; after that, what is left of the plan is asked.
            assert (row.status, made, placements) == ("delivered", ["sms"], {"sms"})
            return
        assert (row.status, made, len(receiver.requests)) == ("dropped", [first], sent)
        assert row.status_reason == f"the placement {first} is not in the catalogue any more"
        assert row.decision_id == f"firing-{firing_id}:0:{first}"


async def kill_at(world: World, step: str, firing_id: str) -> None:
    """Take up a firing, and be killed at a step."""
    worker = world.worker()
    store, service = worker.store, worker.service
    (firing,) = await worker.take_up({"dropped": 10})
    assert firing.firing_id == firing_id
    decisions, sender = service._decisions, service._sender

    def dying(work: Callable[..., Any], *, after: bool, when: Callable[..., bool] = lambda *_: True) -> Any:
        async def die(*args: Any, **kwargs: Any) -> Any:
            if not when(*args):
                return await work(*args, **kwargs)
            if after:
                await work(*args, **kwargs)
            raise Killed

        return die

    with pytest.MonkeyPatch.context() as patch:
        if step == "compare":
            patch.setattr(decisions, "_compare", dying(decisions._compare, after=True))
        elif step in ("plan", "keep"):
            wanted = "due" if step == "plan" else "delivered"
            die = dying(store.keep, after=False, when=lambda progress, _: progress.status == wanted)
            keeper = type("K", (), {"keep": staticmethod(die), "holds": staticmethod(store.holds)})
            patch.setattr(service._decisions, "_keeper", keeper)
            patch.setattr(service, "_keeper", keeper)
        elif step in ("ask", "decide"):
            decider = world.nextbest.api.state.decisions
            die = dying(decider.decide, after=step == "decide", when=lambda request: not request.dry_run)
            patch.setattr(decisions, "_decisions", type("D", (), {"decide": staticmethod(die)}))
        else:
            die = dying(sender.send, after=step == "sent")
            patch.setattr(service, "_sender", type("S", (), {"send": staticmethod(die)}))
        await service.bring_forward(firing)


async def test_a_decision_that_could_not_be_logged_is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver:
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver), "fay")

        async def lost(*_: Any, **__: Any) -> Any:
            raise RedisUnavailable("lost")

        with monkeypatch.context() as patch:
            patch.setattr(world.nextbest.api.state.decision_log, "read", lost)
            await world.work(worker)
        row = await world.read(firing_id)
        assert (row.status, receiver.requests) == ("due", [])
        assert "contact_history_unavailable" in row.status_reason
        world.ahead_ms += 2000
        await world.work(worker)
        assert (await world.read(firing_id)).status == "delivered"


async def test_two_workers_at_once_deliver_each_firing_once(world: World) -> None:
    async with receiving() as receiver:
        firings = await world.fire(to(receiver), "gus", count=3 * MAX_AT_ONCE)
        first, second = world.worker(), world.worker()
        while len(receiver.requests) < len(firings):
            await asyncio.gather(first.round(), second.round())
            await asyncio.gather(first.settle(), second.settle())
        told = [headers["webhook-id"] for headers, _ in receiver.requests]
        assert sorted(told) == sorted(firings)
        assert receiver.connections <= 2 * MAX_AT_ONCE


async def test_a_slow_receiver_holds_up_no_other(world: World) -> None:
    async with receiving() as slow, receiving() as quick:
        slow.hold = asyncio.Event()
        worker = world.worker()
        await world.fire(to(slow, trigger_id="slow"), "hal", count=2 * MAX_AT_ONCE)
        await world.fire(to(quick, trigger_id="quick"), "ivy", count=5)

        async def quick_done() -> bool:
            await worker.round()
            return len(quick.requests) == 5

        await eventually(quick_done, "the quick receiver to be told", progress=lambda: len(quick.requests))
        assert len(slow.requests) <= MAX_AT_ONCE
        slow.hold.set()

        async def slow_done() -> bool:
            await worker.round()
            await worker.settle()
            return len(slow.requests) == 2 * MAX_AT_ONCE

        await eventually(slow_done, "the slow receiver to be told", progress=lambda: len(slow.requests))


async def test_the_bell_rings_when_something_fires(world: World) -> None:
    async with receiving() as receiver:
        worker = world.worker()
        await worker.bell.wait(0.01)
        waiting = asyncio.create_task(worker.bell.wait(60))
        await world.fire(to(receiver), "jan")
        async with asyncio.timeout(30):
            await waiting
        await world.work(worker)
        assert len(receiver.requests) == 1


async def test_a_worker_that_was_too_slow_changes_nothing(world: World) -> None:
    async with receiving() as receiver:
        (firing_id,) = await world.fire(to(receiver), "kim")
        (late,) = await world.worker().take_up({"dropped": 1})
        world.ahead_ms += LEASE_MS
        await world.work(world.worker())
        await world.worker().service.bring_forward(replace(late, deadline_at_ms=0))
        row = await world.read(firing_id)
        assert (row.status, row.attempts) == ("delivered", 2)


@pytest.mark.parametrize("decided", [False, True])
async def test_nothing_is_decided_or_sent_for_a_firing_that_an_erasure_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch, decided: bool
) -> None:
    async with receiving() as receiver:
        customer = f"gone-{decided}"
        (firing_id,) = await world.fire(to(receiver), customer)
        state, worker = world.nextbest.api.state, world.worker()
        (firing,) = await worker.take_up({"dropped": 1})
        decide = state.decisions.decide

        async def delete() -> None:
            async with state.engine.begin() as connection:
                query = text("DELETE FROM trigger_firings WHERE firing_id = cast(:id AS uuid)")
                await connection.execute(query, {"id": firing_id})

        async def decide_and_delete(request: Any) -> Any:
            answer = await decide(request)
            await delete()
            return answer

        if decided:
            monkeypatch.setattr(state.decisions, "decide", decide_and_delete)
        else:
            await delete()
        await worker.service.bring_forward(firing)
        assert receiver.requests == []
        assert len(await world.decisions_of(customer)) == decided


@pytest.mark.parametrize("change", ["consent", "suppression", "status", "limit"])
async def test_what_was_decided_is_not_sent_later_to_whom_it_is_not_allowed_any_more(
    world: World, change: str
) -> None:
    """Limits that the decision itself has reached do not count against it."""
    api, customer, offer = world.nextbest.api, f"later-{change}", f"late-{change}"
    placement = {"channel": offer, "control_share": 0, "deadline_ms": 5000}
    limits = [{"max": 1, "window_s": 86_400}]
    await put_offer(api, offer, value=30, requires_consent="care", contact_limits=limits)
    treatment = {"channel": offer, "language": "en", "title": "Late"}
    await api.ok("PUT", f"/v1/offers/{offer}/treatments/text", json=treatment)
    await api.ok("PUT", f"/v1/placements/{offer}", json=placement)
    await put_customer(world, customer, ["*"], {offer: 0.5})
    async with receiving() as receiver:
        receiver.statuses = [500]
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver, offer), customer)
        await world.work(worker)
        assert (await world.read(firing_id)).status == "decided"
        if change == "consent":
            await api.ok("PATCH", f"/v1/customers/{customer}", json={"consents": {"care": []}})
        elif change == "suppression":
            await api.ok("PUT", f"/v1/suppressions/stop/{customer}", json={"reason": "asked for it"})
        elif change == "status":
            await api.ok("PATCH", f"/v1/offers/{offer}", json={"status": "paused"})
        world.ahead_ms += 2000
        await world.work(worker)
        row = await world.read(firing_id)
        if change == "limit":
            assert (row.status, len(receiver.messages)) == ("delivered", 2)
            return
        assert (row.status, len(receiver.requests)) == ("dropped", 1)
        assert row.status_reason.startswith(f"stopped before it was sent by {change} '")


async def test_what_is_sent_again_twice_has_as_much_time_and_as_many_tries_each_time(world: World) -> None:
    async with receiving() as receiver:
        receiver.statuses = [503] * 20
        worker = world.worker()
        (firing_id,) = await world.fire(to(receiver, trigger_id="down"), "deb", within_s=4)
        tries = []
        for _ in range(3):
            before = len(receiver.requests)
            while (row := await world.read(firing_id)).status != "failed":
                await world.work(worker)
                world.ahead_ms += 1600
            tries.append(len(receiver.requests) - before)
            again = await worker.store.send_again(firing_id, world.now_ms())
            assert again is not None
            assert (again.deadline_at - again.updated_at).total_seconds() == 4
        assert tries[0] > 1
        assert tries == [tries[0]] * 3
        assert row.status == "failed"


async def test_dead_letters_are_shown_and_sent_again_over_http(world: World) -> None:
    api, world.ahead_ms = world.nextbest.api, 0  # requests go by the true time
    async with receiving() as receiver:
        receiver.statuses = [500]
        worker = world.worker()
        failed, later = await world.fire(to(receiver, trigger_id="told"), "liz", count=2, within_s=1)
        await world.work(worker)
        world.ahead_ms += 1000
        await world.work(worker)
        answer = await api.ok("GET", "/v1/firings", params={"trigger": "told", "limit": 1}, role="ops")
        assert len(answer["firings"]) == 1
        cursor = {"trigger": "told", "cursor": answer["next"]}
        rest = await api.ok("GET", "/v1/firings", params=cursor, role="ops")
        assert rest["next"] is None
        assert {f["firing_id"] for f in answer["firings"] + rest["firings"]} == {failed, later}
        (dead,) = (
            await api.ok("GET", "/v1/firings", params={"status": "failed", "customer_id": "liz"}, role="ops")
        )["firings"]
        assert (dead["reason"], dead["placement"]) == ("the webhook: answered 500", "mail")
        counted = await api.ok("GET", "/v1/firings/counts", role="ops")
        (counts,) = [one["counts"] for one in counted["triggers"] if one["trigger"] == "told"]
        assert counts == {"delivered": 1, "failed": 1}
        path = f"/v1/firings/{dead['firing_id']}"
        shown = await api.ok("GET", path, role="ops")
        assert shown["decision"]["offers"][0]["offer_id"] == "by-mail"
        sent = await api.ok("POST", f"{path}/send", role="ops")
        assert (sent["status"], sent["deadline_at"] > dead["deadline_at"]) == ("decided", True)
        problem_of(await api.call("POST", f"{path}/send", role="ops"), 409)
        world.ahead_ms = 0
        await world.work(worker)
        assert (await api.ok("GET", path, role="ops"))["status"] == "delivered"
        unknown = "/v1/firings/00000000-0000-4000-8000-000000000000"
        problem_of(await api.call("GET", unknown, role="ops"), 404)
        problem_of(await api.call("POST", f"{unknown}/send", role="ops"), 404)
        problem_of(await api.call("GET", "/v1/firings?cursor=x", role="ops"), 422, "cursor")


async def test_all_that_failed_are_sent_again_once_though_their_receiver_is_still_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = world.nextbest.api.state.engine
    trigger = Trigger("dead", ON, TriggerDelivery(stream="s"), "mail")
    fired = await world.fire(trigger, "dot", count=5)
    query = text("UPDATE trigger_firings SET status = 'failed' WHERE firing_id = ANY(cast(:ids AS uuid[]))")

    async def fail_at_once(_: FiringDeliveries, firing_id: str, now_ms: int) -> Any:
        sent.append(firing_id)
        assert len(sent) <= len(fired), "in a circle"
        return firing_id  # and it stays failed

    sent: list[str] = []
    async with engine.begin() as connection:
        await connection.execute(query, {"ids": fired})
    monkeypatch.setattr("app.commands.triggers.firings.PAGE", 2)
    monkeypatch.setattr(FiringDeliveries, "send_again", fail_at_once)
    assert await _send_all(engine, "dead") == len(fired)
    assert sorted(sent) == sorted(fired)


async def test_what_fired_is_listed_and_sent_again_on_a_terminal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as receiver:
        receiver.statuses = [500, 500]
        firings = await world.fire(to(receiver, trigger_id="typed"), "moe", count=2, within_s=1)
        worker = world.worker()
        await world.work(worker)
        world.ahead_ms += 1000
        await world.work(worker)
        world.ahead_ms = 0
    engine = world.nextbest.api.state.engine
    loop = asyncio.get_running_loop()

    def on_database(work: Callable[..., Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work(engine), loop).result()

    monkeypatch.setattr("app.commands.triggers.firings.on_database", on_database)

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, [*arguments])

    listed = await run("list", "--status", "failed", "--trigger", "typed")
    assert listed.output.count("typed  failed  the webhook: answered 500") == 2
    assert (await run("send")).exit_code == 1
    one = await run("send", firings[0])
    assert one.output == f"{firings[0]}  is sent again\n"
    assert (await run("send", firings[0])).exit_code == 1
    assert (await run("send", "--all", "--trigger", "typed")).output == "1 are sent again\n"
    assert {(await world.read(firing_id)).status for firing_id in firings} == {"decided"}
