"""Visitors who sign in: everything of theirs is the customer's, once, whatever fails on the way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
import pytest_asyncio
from sqlalchemy import text

from decisioning.merging.store_handover import Handover
from decisioning.recovery.store_events import EventRestorer
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from storage.errors import RedisUnavailable
from storage.locks import ALIASES_LOCK
from storage.postgres import transaction
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, tell
from tests.support.publishable import VISITOR, Page, publish
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = {"name": "Call", "json_schema": {"properties": {"minutes": {"type": "number"}}}}
WEEK_S = 7 * 86_400
LIMITS = [{"max": 2, "window_s": 86_400}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shop: Nextbest) -> AsyncIterator[Nextbest]:
    """The shop, with events, an aggregate over them, and an offer that may be decided twice a day."""
    api = shop.api
    await api.ok("PUT", "/v1/event-types/call", json=CALL)
    for name, function, fields in (
        ("calls", "count", {"window": "7d"}),
        ("talked", "sum", {"window": "7d", "property": "minutes"}),
        ("last_talk", "last", {"property": "minutes"}),
    ):
        await api.ok("PUT", f"/v1/aggregates/{name}", json={"event": "call", "function": function} | fields)
    await api.ok("PUT", "/v1/groups/rare", json={"name": "Rare", "goal": "grow"})
    limits: dict[str, Any] = {
        "rare": {"contact_limits": LIMITS},
        "wary": {"after_rejection": [{"for_s": 86_400}]},
        "often": {"contact_limits": [{"max": 40, "window_s": 86_400}]},
    }
    for name, fields in limits.items():
        await api.ok("PUT", f"/v1/offers/{name}", json={"name": name, "group": "rare"} | fields)
        treatment = {"channel": name, "language": "en", "title": name}
        await api.ok("PUT", f"/v1/offers/{name}/treatments/alone", json=treatment)
        place = {"channel": name, "control_share": 0, "deadline_ms": 10_000}
        await api.ok("PUT", f"/v1/placements/{name}", json=place)
    yield shop


def visitor(name: str) -> str:
    """A visitor's id as events and decisions name it."""
    return f"visitor:{name:->16}"


async def merge(api: Instance, customer_id: str, visitor_id: str) -> Any:
    body = {"visitor_id": visitor_id}
    return await api.ok("POST", f"/v1/customers/{customer_id}/merge", json=body, role="frontend")


async def call(api: Instance, customer_id: str, event_id: str, minutes: float = 1.0) -> str:
    await asyncio.sleep(
        0.002
    )  # of two events of one millisecond, told by two persons, either may be the last
    body = {
        "event_id": event_id,
        "customer_id": customer_id,
        "type": "call",
        "properties": {"minutes": minutes},
    }
    return str((await api.ok("POST", "/v1/events", json=body, role="frontend"))["status"])


async def told(api: Instance, customer_id: str) -> dict[str, Any]:
    """What events tell of a customer."""
    answer = await api.ok("GET", f"/v1/customers/{customer_id}/told", role="ops")
    return dict(answer["events"])


async def rare(api: Instance, customer_id: str, placement: str = "rare", **fields: Any) -> Any:
    """A decision that may offer what may be decided twice a day; returns its id, or ``None`` if it does not.

    In ``placement``, it is the offer of the same name.
    """
    answer = await decide(api, customer_id, placement, **fields)
    return answer["decision_id"] if answer["offers"] else None


async def test_what_a_visitor_did_is_the_customers_in_every_process(world: Nextbest) -> None:
    api, me, page = world.api, "ida", visitor("ida")
    assert await call(api, me, "own", 1.5) == "recorded"
    assert await call(api, page, "as-visitor", 2.0) == "recorded"
    merged = await merge(api, me, page)
    assert (merged["status"], merged["customer_id"], merged["visitor_id"]) == ("merged", me, page)
    async with world.another() as other:
        assert await told(other, me) == {"calls": 2, "talked": 3.5, "last_talk": 2.0}
        assert await told(other, page) == await told(other, me)
        # From now on either name is the customer's, and what was told as the visitor is known.
        assert await call(other, page, "as-visitor") == "duplicate"
        assert await call(other, page, "later", 4.0) == "recorded"
        assert await call(other, me, "later", 4.0) == "duplicate"
    assert await told(api, me) == {"calls": 3, "talked": 7.5, "last_talk": 4.0}
    again = await merge(api, me, page.removeprefix("visitor:"))
    assert again == merged | {"status": "already_merged"}
    assert await told(api, me) == {"calls": 3, "talked": 7.5, "last_talk": 4.0}


async def test_an_event_that_both_told_counts_once(world: Nextbest) -> None:
    api, me, page = world.api, "both", visitor("both")
    for one in (me, page):
        assert await call(api, one, "the same", 2.5) == "recorded"
    await call(api, page, "another", 1.0)
    await merge(api, me, page)
    assert await told(api, me) == {"calls": 2, "talked": 3.5, "last_talk": 1.0}


async def test_contacts_of_a_visitor_count_in_the_limits_of_the_customer(world: Nextbest) -> None:
    api, me, page = world.api, "lim", visitor("lim")
    assert await rare(api, page)
    assert await rare(api, me)
    assert await rare(api, me, dry_run=True)
    await merge(api, me, page)
    for one in (me, page):
        assert await rare(api, one) is None
    explained = await decide(api, page, "rare", explain=True)
    stops = {one["offer_id"]: one.get("stage") for one in explained["explanation"]}
    assert stops["rare"] == "contact"


async def test_a_decision_for_an_alias_is_one_of_the_customer(world: Nextbest) -> None:
    api, me, page = world.api, "prof", visitor("prof")
    record = {"attributes": {}, "consents": {"marketing": ["web"]}}
    await api.ok("PUT", f"/v1/customers/{me}", json=record)
    before = await decide(api, page, "home", decision_id="before-it")
    await merge(api, me, page)
    answer = await decide(api, page, "home", decision_id="after-it", explain=True)
    logged = await api.ok("GET", f"/v1/decisions/{answer['decision_id']}", role="ops")
    assert logged["customer_id"] == me
    # An id of the caller's own gives the answer that it gave, whenever it was first asked for.
    assert await decide(api, page, "home", decision_id="before-it") == before
    again = await decide(api, page, "home", decision_id="after-it")
    assert [one["offer_id"] for one in again["offers"]] == [one["offer_id"] for one in answer["offers"]]
    other = await api.call(
        "POST",
        "/v1/decisions",
        json={"customer_id": "somebody", "placement": "home", "decision_id": "after-it"},
        role="frontend",
    )
    problem_of(other, 409)


async def test_own_ids_give_their_answers_after_chains_of_merges(world: Nextbest) -> None:
    api, me = world.api, "own-chain"
    pages = [visitor(f"own-{n}") for n in range(3)]
    answers: dict[str, Any] = {}

    async def ask(customer_id: str, name: str) -> None:
        answers[name] = await decide(api, customer_id, "home", decision_id=name)

    await ask(pages[0], "own-chain-first")
    await merge(api, pages[1], pages[0])
    await ask(pages[0], "own-chain-between")
    await ask(pages[1], "own-chain-second")
    await merge(api, pages[2], pages[1])
    await ask(pages[0], "own-chain-third")
    await merge(api, me, pages[2])
    await ask(pages[0], "own-chain-last")
    for _ in range(2):
        for one in (*pages, me):
            for name, answer in answers.items():
                assert await decide(api, one, "home", decision_id=name) == answer, (one, name)
        await world.worker.drain()  # then the archive has them
    for name in answers:
        body = {"customer_id": "own-nobody", "placement": "home", "decision_id": name}
        problem_of(await api.call("POST", "/v1/decisions", json=body), 409)


async def test_contacts_that_are_given_back_stay_so_after_chains_of_merges(world: Nextbest) -> None:
    api, me = world.api, "back-chain"
    first, second = visitor("back-1"), visitor("back-2")
    unconfirmed = {"channel": "often", "control_share": 0, "deadline_ms": 10_000, "presentation": "explicit"}
    await api.ok("PUT", "/v1/placements/unconfirmed", json=unconfirmed | {"reward_window_s": 2 * WEEK_S})
    decided = (await decide(api, first, "unconfirmed"))["decision_id"]
    confirmed = (await decide(api, second, "unconfirmed"))["decision_id"]
    await merge(api, second, first)
    await merge(api, me, second)

    async def contacts() -> list[str]:
        """The decisions whose contacts count, each once."""
        members = await cast(Any, api.state.redis).zrange(api.state.keys.contact(me), 0, -1)
        return sorted({member.decode().rpartition(":")[2] for member in members})

    assert await contacts() == sorted([decided, confirmed])
    reader, later_ms = api.state.log_reader, clock.now_ms() + WEEK_S * 1000
    await reader.release(await reader.unconfirmed(later_ms, 200), later_ms)
    await api.state.merging.finish(0)
    assert await contacts() == []
    # What comes of the other's is handed over with all that the one between had.
    assert await tell(api, confirmed, "often", "presented") == "recorded"
    assert await contacts() == [confirmed]
    assert await tell(api, decided, "often", "presented") == "recorded"  # after all
    assert await tell(api, confirmed, "often", "clicked") == "recorded"
    assert await contacts() == sorted([decided, confirmed])


async def test_imports_that_name_a_visitor_are_about_the_customer(world: Nextbest) -> None:
    api, me = world.api, "imported"
    first, second, nobody = visitor("imported-1"), visitor("imported-2"), visitor("imported-3")
    await merge(api, second, first)
    await merge(api, me, second)
    rows = f"customer_id,list_id,reason\n{first},told,first\n{me},told,last\n {second} ,told-too,r\n{nobody},told,n\n"
    assert (await api.ok("POST", "/v1/imports/suppressions", content=rows, headers=CSV))["loaded"] == 4
    entries = (await api.ok("GET", "/v1/suppressions/told", role="ops"))["entries"]
    assert {one["customer_id"]: one["reason"] for one in entries} == {me: "last", nobody: "n"}
    assert await rare(api, first, "often", dry_run=True) is None
    # Who says of a visitor that it is for a day takes nothing from what the customer has asked for.
    rows = "".join(
        f"{who},told,short,{until}-01-01T00:00:00Z\n" for who, until in ((first, 2099), (second, 2001))
    )
    rows = f"customer_id,list_id,reason,until\n{rows}"
    assert (await api.ok("POST", "/v1/imports/suppressions", content=rows, headers=CSV))["loaded"] == 2
    entries = (await api.ok("GET", "/v1/suppressions/told", role="ops"))["entries"]
    assert {one["customer_id"]: (one["reason"], one["until"]) for one in entries}[me] == ("last", None)
    assert len(entries) == 2
    rows = (
        f"customer_id,purpose,channel,given\n\u00a0{first} ,news,web,true\n{nobody},news,web,true\n"
        "visitor:\0x,news,web,true\n"
    )
    answer = await api.ok("POST", "/v1/imports/consents", content=rows, headers=CSV)
    assert (answer["loaded"], [one["row"] for one in answer["refusals"]]) == (1, [2, 3])
    found = await api.ok("GET", f"/v1/customers/{me}", role="ops")
    assert found["consents"] == {"news": ["web"]}


@pytest.mark.parametrize("how", ["import", "put"])
async def test_a_suppression_that_waits_behind_a_merge_is_the_customers(world: Nextbest, how: str) -> None:
    api, me, page = world.api, f"behind-{how}", visitor(f"behind-{how}")
    async with transaction(api.state.engine) as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({ALIASES_LOCK})"))
        if how == "import":
            rows = f"customer_id,list_id,reason\n{page},{how},asked\n"
            call = api.ok("POST", "/v1/imports/suppressions", content=rows, headers=CSV)
        else:
            call = api.ok("PUT", f"/v1/suppressions/{how}/{page}", json={"reason": "asked"}, role="ops")
        task = asyncio.create_task(call)
        waiting = text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            f" AND (classid::bigint << 32) + objid::bigint = {ALIASES_LOCK}"
        )

        async def waits() -> bool:
            return bool(await connection.scalar(waiting))

        await eventually(waits, "it to wait for the merge")
        values = {"alias": page, "customer_id": me}
        added = "INSERT INTO aliases (alias, customer_id, author) VALUES (:alias, :customer_id, 'test')"
        await connection.execute(text(added), values)
    answer = await task
    assert how == "import" or answer["customer_id"] == me
    entries = (await api.ok("GET", f"/v1/suppressions/{how}", role="ops"))["entries"]
    assert [one["customer_id"] for one in entries] == [me]


async def test_decisions_of_before_take_feedback_that_counts_for_the_customer(world: Nextbest) -> None:
    api, me, page = world.api, "wait", visitor("wait")
    decision = await rare(api, page, "wary")
    await merge(api, me, page)
    assert await tell(api, decision, "wary", "rejected") == "recorded"
    assert await tell(api, decision, "wary", "rejected") == "duplicate"
    assert await rare(api, me, "wary") is None  # at once, and by the history of the customer
    history = await api.state.decision_log.read(me, True)
    assert sorted(one.kind for one in history.history) == ["d", "r"]


@pytest.mark.parametrize(
    ("customer_id", "visitor_id", "status", "said"),
    [
        ("two", visitor("one"), 409, "was merged into 'one'"),
        (visitor("one"), visitor("one"), 422, "is the one"),
        (visitor("one"), visitor("first"), 409, "'visitor:-----------first' was merged into 'one'"),
        ("two", "crm:77", 422, "is not the id of a visitor"),
        ("two", "", 422, "visitor_id"),
        ("two", "visitor:", 422, "is not the id of a visitor"),
    ],
)
async def test_what_cannot_be_merged_is_refused_with_the_way_out(
    world: Nextbest, customer_id: str, visitor_id: str, status: int, said: str
) -> None:
    api = world.api
    if visitor_id == visitor("first"):
        await merge(api, "one", visitor_id)
        customer_id = "another"
    else:
        await merge(api, "one", visitor("one"))
    before = await told(api, "two")
    answer = await api.call(
        "POST", f"/v1/customers/{customer_id}/merge", json={"visitor_id": visitor_id}, role="frontend"
    )
    assert said in problem_of(answer, status)["detail"]
    assert await told(api, "two") == before


async def test_visitors_who_became_each_other_do_not_become_each_other_again(world: Nextbest) -> None:
    api, first, second = world.api, visitor("ring-1"), visitor("ring-2")
    await merge(api, second, first)
    answer = await api.call(
        "POST", f"/v1/customers/{first}/merge", json={"visitor_id": second}, role="frontend"
    )
    assert "was merged into" in problem_of(answer, 409)["detail"]


@pytest.mark.parametrize("order", ["down", "up", "straight"])
async def test_chains_of_visitors_end_at_the_customer_in_any_order(world: Nextbest, order: str) -> None:
    api, me = world.api, f"chain-{order}"
    pages = [visitor(f"{order}-{n}") for n in range(3)]
    for n, one in enumerate((*pages, me)):
        assert await call(api, one, f"{order}-{n}", 2.0**n) == "recorded"
    steps = [(pages[1], pages[0]), (pages[2], pages[1]), (me, pages[2])]
    if order == "up":
        steps.reverse()
    if order == "straight":
        steps = [(me, page) for page in pages]
    for customer_id, visitor_id in [*steps, *steps]:
        await merge(api, customer_id, visitor_id)
    assert (await merge(api, me, pages[0]))["customer_id"] == me
    for one in (me, *pages):
        assert await told(api, one) == {"calls": 4, "talked": 15.0, "last_talk": 8.0}
        assert await call(api, one, f"{order}-0", 1.0) == "duplicate"


STEPS = ("redirect", "hand_over_contacts", "hand_over_events")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("step", STEPS)
async def test_a_merge_that_is_cut_off_at_any_step_is_finished_by_the_worker(
    world: Nextbest, step: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, name = world.api, f"cut-{step}-{before}"
    page, decision = visitor(name), await rare(world.api, visitor(name))
    await call(api, page, "before", 1.0)
    await call(api, name, "own", 2.0)
    real = getattr(Handover, step)

    async def cut_off(*arguments: Any) -> None:
        if not before:
            await real(*arguments)
        raise RedisUnavailable("the process was killed")

    with monkeypatch.context() as patch:
        patch.setattr(Handover, step, cut_off)
        answer = await api.call(
            "POST", f"/v1/customers/{name}/merge", json={"visitor_id": page}, role="frontend"
        )
        problem_of(answer, 503)
        # Whatever is told meanwhile counts once, too.
        assert await call(api, page, "between", 4.0) == "recorded"
        assert await call(api, page, "before", 1.0) == "duplicate"
    assert await tell(api, decision, "rare", "clicked") == "recorded"
    await api.state.merging.finish(0)
    assert await told(api, name) == {"calls": 3, "talked": 7.0, "last_talk": 4.0}
    history = await api.state.decision_log.read(name, True)
    assert sorted(one.kind for one in history.history) == ["c", "d"]
    assert await api.state.merging.finish(0) == 0


async def test_a_merge_that_keeps_failing_stops_no_other(
    world: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, pages = world.api.state, [visitor("fails"), visitor("works")]
    for page in pages:
        await merge(world.api, page.removeprefix("visitor:").strip("-"), page)
    drop = Handover.drop_events

    async def fail(self: Handover, visitor_id: str) -> None:
        if visitor_id == pages[0]:
            raise RedisUnavailable("its state cannot be read")
        await drop(self, visitor_id)

    with monkeypatch.context() as patch:
        patch.setattr(Handover, "drop_events", fail)
        with pytest.raises(RedisUnavailable, match="cannot be read"):
            await state.merging.finish(0)
    assert [one.alias for one in await state.merging.aliases.unfinished(0, 100)] == pages[:1]
    await state.merging.finish(0)


async def test_feedback_that_was_cut_off_before_it_was_handed_over_is_handed_over_by_whoever_comes_next(
    world: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = world.api
    for name, finish in (("retried", False), ("swept", True)):
        page = visitor(name)
        decision = await rare(api, page)
        await merge(api, name, page)
        with monkeypatch.context() as patch:

            async def killed(visitor_id: str) -> None:
                raise RedisUnavailable("the process was killed")

            patch.setattr(api.state.decision_log, "hand_over", killed)
            body = {"decision_id": decision, "offer_id": "rare", "outcome": "clicked"}
            problem_of(await api.call("POST", "/v1/feedback", json=body, role="frontend"), 503)
        if finish:
            await api.state.merging.finish()
        else:
            assert await tell(api, decision, "rare", "clicked") == "duplicate"
        history = await api.state.decision_log.read(name, True)
        assert sorted(one.kind for one in history.history) == ["c", "d"]


async def test_what_races_with_a_merge_is_neither_lost_nor_counted_twice(world: Nextbest) -> None:
    api, me, page = world.api, "race", visitor("race")
    async with world.another() as other:
        work: list[Any] = []
        for n in range(12):
            instance = (api, other)[n % 2]
            work += [
                call(instance, (page, me)[n % 3 == 0], f"r{n}", 1.0),
                rare(instance, (page, me)[n // 2 % 2], "often"),
            ]
            if n in (4, 5, 8):
                work.append(merge(instance, me, page))
        done = await asyncio.gather(*work)
    decided = {one for one in done if isinstance(one, str) and one != "recorded"}
    assert (await told(api, me))["calls"] == 12
    redis: Any = api.state.redis
    members = await redis.zrange(api.state.keys.contact(me), 0, -1)
    assert sorted(one.decode().rpartition(":")[2] for one in members) == sorted(decided)
    assert len(decided) == 12


async def test_a_limit_holds_over_visitor_and_customer_once_they_are_merged(world: Nextbest) -> None:
    api, me, page = world.api, "hold", visitor("hold")
    await merge(api, me, page)
    async with world.another() as other:
        found = await asyncio.gather(*(rare((api, other)[n % 2], (me, page)[n // 2 % 2]) for n in range(12)))
    assert len([one for one in found if one]) == 2


async def test_pages_go_on_with_the_id_of_a_visitor_who_has_signed_in(world: Nextbest) -> None:
    api = world.api
    page = Page(api, await publish(api))
    before = await page.decide()
    await merge(api, "paged", f"visitor:{VISITOR}")
    after = await page.decide()
    logged = await api.ok("GET", f"/v1/decisions/{after['decision_id']}", role="ops")
    assert logged["customer_id"] == "paged"
    for decision in (before, after):
        assert (await page.tell(decision, "clicked"))["status"] == "recorded"
        assert (await page.tell(decision, "clicked", visitor_id="another-visitor-00"))["code"] == 404


async def test_a_lost_redis_is_rebuilt_with_its_aliases(world: Nextbest) -> None:
    api, me, page, state = world.api, "lost", visitor("lost"), world.api.state
    first = visitor("lost-0")
    await call(api, first, "e0", 0.5)
    await call(api, me, "e1", 1.0)
    await call(api, page, "e2", 2.0)
    await call(api, page, "e1", 1.0)
    decision = await rare(api, page)
    await merge(api, page, first)
    await merge(api, me, page)
    await call(api, page, "e3", 4.0)
    await tell(api, decision, "rare", "clicked")
    await world.worker.archive()
    before = await told(api, me), sorted(map(str, (await state.decision_log.read(me, True)).history))
    assert before[0] == {"calls": 4, "talked": 7.5, "last_talk": 4.0}

    async def rebuild() -> None:
        await Rebuilder(
            state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
        ).rebuild()

    async def found() -> Any:
        return await told(api, page), sorted(map(str, (await state.decision_log.read(me, True)).history))

    await rebuild()  # nothing was lost: nothing changes
    assert await found() == before
    names = [me, page, first]
    for name in names:
        await state.redis.delete(
            *(
                getattr(state.keys, part)(name)
                for part in ("events", "event_ids", "contact", "alias", "absorbed")
            )
        )
    await state.redis.delete(*map(state.keys.handovers, range(state.keys.buckets)))
    assert await told(api, page) == {"calls": 0, "talked": 0.0}
    await rebuild()
    assert await found() == before
    for name in names:
        assert await call(api, name, "e0") == "duplicate"
    await state.merging.finish(0)
    assert await found() == before


async def test_a_customer_stays_on_the_suppression_lists_that_the_visitor_was_on(world: Nextbest) -> None:
    api, me, page = world.api, "supp", visitor("supp")
    until, later = "2100-01-01T00:00:00Z", "2101-01-01T00:00:00Z"
    for list_id, who, fields in (
        ("stop", page, {}),
        ("ends", page, {"until": until}),
        ("ends", me, {"until": later}),
        ("narrow", page, {"scope": {"channels": ["web"]}}),
        ("narrow", me, {"scope": {"goals": ["grow"]}, "until": until}),
        ("past", page, {"until": "2001-01-01T00:00:00Z"}),
    ):
        body = {"reason": "asked"} | fields
        await api.ok("PUT", f"/v1/suppressions/{list_id}/{who}", json=body, role="ops")
    await merge(api, me, page)
    for one in (me, page):
        assert await rare(api, one, "often", dry_run=True) is None
    # Whoever names the visitor later means the customer.
    await api.ok("PUT", f"/v1/suppressions/after/{page}", json={"reason": "asked"}, role="ops")
    lists = {}
    for list_id in ("stop", "ends", "narrow", "past", "after"):
        for entry in (await api.ok("GET", f"/v1/suppressions/{list_id}", role="ops"))["entries"]:
            lists[list_id] = entry["customer_id"], entry.get("until"), entry.get("scope")
    assert lists == {
        "stop": (me, None, None),
        "ends": (me, later, None),
        "narrow": (me, None, None),
        "after": (me, None, None),
    }


async def test_an_alias_that_redis_has_lost_is_the_customer_all_the_same(world: Nextbest) -> None:
    api, me, page, state = world.api, "unaware", visitor("unaware"), world.api.state
    assert await rare(api, page, "often")
    await merge(api, me, page)
    await api.ok("PUT", f"/v1/suppressions/stop/{me}", json={"reason": "asked"}, role="ops")
    await state.redis.delete(state.keys.alias(page))
    answer = await decide(api, page, "often")
    assert answer["offers"] == []
    logged = await api.ok("GET", f"/v1/decisions/{answer['decision_id']}", role="ops")
    assert logged["customer_id"] == me


async def test_a_rebuild_ends_while_visitors_are_merged_all_the_time(
    world: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, state = world.api, world.api.state
    for n in range(2):
        await call(api, f"busy-{n}", "own", 1.0)
        await call(api, visitor(f"busy-{n}"), "as-visitor", 2.0)
    await world.worker.archive()
    restore, passes = EventRestorer.restore, list[Any]()

    async def merged_meanwhile(self: EventRestorer, *arguments: Any) -> int:
        n = len(passes)
        passes.append(arguments)
        if not n:
            await state.redis.delete(*map(state.keys.events, ("busy-0", visitor("busy-0"))))
        await merge(api, f"busy-{n}", visitor(f"busy-{n}"))  # of whom nothing has been put back yet
        return await restore(self, *arguments)

    monkeypatch.setattr(EventRestorer, "restore", merged_meanwhile)
    rebuilder = Rebuilder(state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    await rebuilder.rebuild()
    assert [names for _, names in passes] == [None, {"busy-0", visitor("busy-0")}]
    assert [(await told(api, f"busy-{n}"))["calls"] for n in range(2)] == [2, 2]


async def test_the_export_of_a_customer_has_what_was_done_as_a_visitor(world: Nextbest) -> None:
    api, me, page = world.api, "exp", visitor("exp")
    await call(api, page, "as-visitor", 2.0)
    decision = await rare(api, page)
    await merge(api, me, page)
    for _ in range(2):
        found = await api.ok("GET", f"/v1/customers/{me}/export", role="ops")
        assert [one["visitor_id"] for one in found["aliases"]] == [page]
        everything = str(found)
        assert "as-visitor" in everything
        assert decision in everything
        await world.worker.archive()


async def test_erasing_a_customer_erases_the_aliases(
    world: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, me, page, state = world.api, "gone", visitor("gone"), world.api.state
    await call(api, page, "as-visitor", 2.0)
    decision = await rare(api, page)
    await merge(api, me, page)
    await call(api, me, "own", 2.0)
    await world.worker.archive()
    forget, redis = Handover.forget, cast("Any", state.redis)
    contacts = await redis.zrange(state.keys.contact(me), 0, -1)
    assert contacts

    async def after_one_more(self: Handover, visitor_id: str, customers: Sequence[str]) -> None:
        """A handover that had begun before ends now."""
        await redis.zadd(state.keys.contact(me), dict.fromkeys(contacts, 1))
        await forget(self, visitor_id, customers)

    monkeypatch.setattr(Handover, "forget", after_one_more)
    await api.ok("POST", f"/v1/customers/{me}/erase", json={"keep_out": False}, role="ops")
    assert not await redis.exists(state.keys.contact(me))
    assert "erased-" in (await api.ok("GET", f"/v1/decisions/{decision}", role="ops"))["customer_id"]
    async with state.engine.connect() as connection:
        for table, column in (("aliases", "alias"), ("events", "customer_id"), ("decisions", "customer_id")):
            query = text(f"SELECT count(*) FROM {table} WHERE {column} = :name")
            assert await connection.scalar(query, {"name": page}) == 0
    # But for the mark that no profile is to be put there, which stays for seconds.
    keys = [key.decode() for key in await redis.keys("*")]
    assert [key for key in keys if page in key and ":profile:" not in key] == []
    # The page may be anybody's now.
    assert await told(api, page) == {"calls": 0, "talked": 0.0}
    assert await rare(api, page)
    assert (await state.decision_log.read(me, True)).history == []
