"""Limits per household over HTTP: members count together, whatever their buckets, and whatever breaks in between."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from decisioning.evaluation.replay_service import replay
from decisioning.events.intake_service import ReceivedEvent
from decisioning.log.households import store_contacts
from decisioning.log.households.store_contacts import reservation_note
from decisioning.log.households.store_reservations import Reservations
from decisioning.log.store_stream import LogReader
from decisioning.policies.roster import Roster
from decisioning.privacy import store_erasing
from decisioning.privacy.generalising import Generaliser
from decisioning.privacy.store_erasing import LogEraser
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from storage.errors import PostgresUnavailable, RedisUnavailable
from tests.support.api import Instance, Nextbest, decide, problem_of, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY_S = 86_400
MANY = 100
LATER_MS = 3_600_000


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def letters(api: Instance) -> AsyncIterator[None]:
    """Two letters, of which a household gets one a month, and a leaflet in the same channel, which is not limited."""
    for group in ("letters", "leaflets"):
        await api.ok("PUT", f"/v1/groups/{group}", json={"name": group, "goal": "grow"})
    for offer, group in (("card", "letters"), ("loan", "letters"), ("leaflet", "leaflets")):
        await api.ok("PUT", f"/v1/offers/{offer}", json={"name": offer, "group": group})
        treatment = {"channel": "letter", "title": offer}
        await api.ok("PUT", f"/v1/offers/{offer}/treatments/t", json=treatment)
    body = {"channel": "letter", "control_share": 0, "deadline_ms": 60_000, "slots": 3}
    await api.ok("PUT", "/v1/placements/post", json=body)
    called = body | {"presentation": "explicit", "confirm_within_s": 1}
    await api.ok("PUT", "/v1/placements/call", json=called)
    await api.ok("PUT", "/v1/contact-policies/letter", json=monthly("letters"), role="ops")
    yield
    await api.ok("DELETE", "/v1/contact-policies/letter")


def monthly(group: str, **fields: Any) -> dict[str, Any]:
    """One of a group in a month for a household."""
    body = {"name": "one letter a month", "max": 1, "window_s": 30 * DAY_S, "scope": "group"}
    return body | {"applies_to": group, "channels": ["letter"], "per": "household"} | fields


async def move(api: Instance, household: str | None, *members: str) -> None:
    """Make customers members of a household."""
    for member in members:
        await api.ok("PUT", f"/v1/customers/{member}", json={"household_id": household})


def letters_of(answer: Any) -> list[str]:
    """The letters of an answer, without the leaflet."""
    return [offer["offer_id"] for offer in answer["offers"] if offer["offer_id"] != "leaflet"]


async def contacts_in(api: Instance, household: str) -> dict[bytes, float]:
    """The household's history as it stands in Redis."""
    found: Any = await api.state.redis.zrange(api.state.keys.household(household), 0, -1, withscores=True)
    return dict(found)


def members(api: Instance, name: str) -> list[str]:
    """A customer for each bucket."""
    keys, found = api.state.keys, dict[int, str]()
    for number in range(1000):
        found.setdefault(keys.bucket(f"{name}-{number}"), f"{name}-{number}")
    assert len(found) == keys.buckets
    return list(found.values())


async def settle(api: Instance, ahead_ms: int = LATER_MS) -> int:
    """Compare what was reserved with what became of it."""
    state = api.state
    return await Reservations(state.redis, state.keys).settle_due(clock.now_ms() + ahead_ms, 1000)


async def test_members_in_different_buckets_count_together(api: Instance) -> None:
    ann, bob, *_ = members(api, "pair")
    await move(api, "pair", ann, bob)
    first = await decide(api, ann, "post")
    assert len(letters_of(first)) == 1  # also of one answer
    assert len(first["offers"]) == 2
    second = await decide(api, bob, "post")
    assert letters_of(second) == []
    assert [offer["offer_id"] for offer in second["offers"]] == ["leaflet"]
    assert letters_of(await decide(api, "nobodys", "post"))


async def test_many_members_at_once_never_exceed_the_limit(api: Instance) -> None:
    home = members(api, "crowd")
    await move(api, "crowd", *home)
    answers = await asyncio.gather(*(decide(api, home[n % len(home)], "post") for n in range(MANY)))
    assert sum(len(letters_of(answer)) for answer in answers) == 1
    assert all("leaflet" in [o["offer_id"] for o in answer["offers"]] for answer in answers)


async def test_who_is_in_no_household_is_limited_alone(api: Instance) -> None:
    assert len(letters_of(await decide(api, "single", "post"))) == 1
    assert letters_of(await decide(api, "single", "post")) == []
    # Who moves in takes along what was offered, for themselves, and not for the others.
    await move(api, "shared", "single", "flatmate")
    assert letters_of(await decide(api, "single", "post")) == []
    assert len(letters_of(await decide(api, "flatmate", "post"))) == 1


async def test_a_household_that_is_left_keeps_what_it_got(api: Instance) -> None:
    await move(api, "old", "mover", "stayer")
    assert letters_of(await decide(api, "mover", "post"))
    await move(api, "new", "mover")
    assert letters_of(await decide(api, "stayer", "post")) == []
    await move(api, "new", "neighbour")
    assert letters_of(await decide(api, "neighbour", "post"))


async def test_who_moves_in_while_the_last_member_is_erased_keeps_what_was_reserved(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, home = shop.api, "left-now"
    await move(api, home, "last-one")
    assert letters_of(await decide(api, "last-one", "post"))
    before, letters, scalars = await contacts_in(api, home), list[str](), AsyncConnection.scalars
    assert before

    async def moved_in(self: AsyncConnection, statement: Any, *arguments: Any, **options: Any) -> Any:
        found = await scalars(self, statement, *arguments, **options)
        if statement is store_erasing._LIVED_IN:  # the answer is that nobody lives there any more
            await api.state.redis.zadd(api.state.keys.household(home), {b"of a new member": clock.now_ms()})
            letters.append("reserved")
        return found

    monkeypatch.setattr(AsyncConnection, "scalars", moved_in)
    eraser = LogEraser(api.state.engine, api.state.redis, api.state.keys, Generaliser([]))
    async with api.state.engine.begin() as connection:
        await connection.execute(text("DELETE FROM customers WHERE customer_id = 'last-one'"))
    await eraser.erase("last-one", clock.now_ms())
    assert letters == ["reserved"]
    assert [*await contacts_in(api, home)] == [b"of a new member"]


async def test_an_explanation_says_that_it_is_the_households_limit(api: Instance) -> None:
    await move(api, "why", "ada", "eva")
    await decide(api, "ada", "post")
    answer = await decide(api, "eva", "post", explain=True, dry_run=True)
    (stop,) = next(one for one in answer["explanation"] if one["offer_id"] == "card")["stops"]
    assert (stop["stage"], stop["name"], stop["observed"]) == ("contact", "one letter a month", 1)
    assert stop["required"] == {"max": 1, "window_s": 30 * DAY_S, "per": "household"}
    assert stop["allowed_again_ms"] > clock.now_ms()


async def test_a_dry_run_reserves_nothing(api: Instance) -> None:
    await move(api, "dry", "desert")
    assert letters_of(await decide(api, "desert", "post", dry_run=True))
    assert await contacts_in(api, "dry") == {}
    assert letters_of(await decide(api, "desert", "post"))
    assert len(await contacts_in(api, "dry")) == 2  # the leaflet of the same answer as well


async def test_a_repeated_request_counts_once(api: Instance) -> None:
    await move(api, "again", "echo", "reply")
    answers = await asyncio.gather(*(decide(api, "echo", "post", decision_id="letter-7") for _ in range(20)))
    assert len({str(letters_of(answer)) for answer in answers}) == 1
    assert len(letters_of(answers[0])) == 1
    assert letters_of(await decide(api, "reply", "post")) == []
    await settle(api)
    decided = [name for name in await contacts_in(api, "again") if b":letters:" in name]
    assert len(decided) == 1


async def test_an_unlimited_answer_leaves_no_trace_in_the_household(api: Instance) -> None:
    await move(api, "web", "surfer")
    assert (await decide(api, "surfer", "home"))["offers"]
    assert await contacts_in(api, "web") == {}


async def test_what_was_reserved_by_a_process_that_was_killed_is_given_back(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move(api, "killed", "victim", "heir")
    reached = asyncio.Event()

    async def killed(*arguments: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(store_contacts, "HOLD_MS", 0)
        patched.setattr(api.state.decision_log, "_write", killed)
        request = {"customer_id": "victim", "placement": "post", "decision_id": "never"}
        asked = asyncio.create_task(api.call("POST", "/v1/decisions", json=request))
        await reached.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    # It may still be written, for all that anybody knows.
    assert letters_of(await decide(api, "heir", "post")) == []
    assert await contacts_in(api, "killed") != {}
    keys = api.state.keys
    note = reservation_note(keys.bucket("victim"), "never", "killed")
    assert await api.state.redis.zscore(keys.reservations(keys.bucket("killed")), note) is not None

    async def left() -> bool:
        await settle(api)
        return not await contacts_in(api, "killed")

    await eventually(left, "the reservation to be given back")
    assert await api.state.redis.zscore(keys.reservations(keys.bucket("killed")), note) is None
    assert letters_of(await decide(api, "heir", "post"))


async def test_a_process_that_is_killed_behind_both_steps_keeps_the_limit(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move(api, "written", "writer", "reader")
    reached, write = asyncio.Event(), api.state.decision_log._write

    async def killed(*arguments: Any) -> Any:
        assert (await write(*arguments)).written
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(api.state.decision_log, "_write", killed)
        asked = asyncio.create_task(decide(api, "writer", "post", decision_id="written"))
        await reached.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    await settle(api)
    assert letters_of(await decide(api, "reader", "post")) == []
    assert letters_of(await decide(api, "writer", "post", decision_id="written"))


async def test_a_decision_is_not_written_when_its_reservation_may_be_gone(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move(api, "slow", "snail", "heiress")
    monkeypatch.setattr(store_contacts, "HOLD_MS", 0)
    late = await decide(api, "snail", "post")
    assert letters_of(late) == []  # after three tries, each too late
    monkeypatch.undo()
    assert len(letters_of(await decide(api, "heiress", "post"))) == 1


async def test_what_was_decided_stays(api: Instance) -> None:
    await move(api, "kept", "ivy")
    await decide(api, "ivy", "post")
    before = await contacts_in(api, "kept")
    await settle(api)
    await settle(api)
    assert await contacts_in(api, "kept") == before != {}


async def test_a_withdrawn_decision_does_not_count(api: Instance) -> None:
    await move(api, "undone", "una", "otto")
    answer = await decide(api, "una", "post")
    record = await api.state.decision_log.waiting(api.state.keys.bucket("una"), answer["decision_id"])
    decided_at_ms = int(record["d"])
    await api.state.decision_log.withdraw(
        "una", answer["decision_id"], decided_at_ms, clock.now_ms(), household_id="undone"
    )

    async def free() -> bool:
        await settle(api, 0)
        return not await contacts_in(api, "undone")

    await eventually(free, "what was withdrawn to leave the household")
    assert letters_of(await decide(api, "otto", "post"))


async def test_an_unconfirmed_presentation_is_given_back_and_counts_if_it_comes_late(shop: Nextbest) -> None:
    api, state = shop.api, shop.api.state
    await move(api, "phone", "talker", "listener")
    first = await decide(api, "talker", "call")
    (offer,) = letters_of(first)
    await settle(api)
    assert letters_of(await decide(api, "listener", "call")) == []
    bucket, reader = state.keys.bucket("talker"), LogReader(state.redis, state.keys)

    async def released() -> bool:
        await reader.release([(bucket, first["decision_id"])], clock.now_ms())
        await settle(api)
        return not await contacts_in(api, "phone")

    await eventually(released, "the reservation to be given back")
    assert await tell(api, first["decision_id"], offer, "presented") == "recorded"
    late = await contacts_in(api, "phone")
    assert [b":letters:" in name for name in late] == [True]
    await settle(api)
    assert await contacts_in(api, "phone") == late
    assert letters_of(await decide(api, "listener", "call")) == []


async def test_a_rebuild_brings_the_history_of_a_household_back(shop: Nextbest) -> None:
    api, state = shop.api, shop.api.state
    home = members(api, "rebuilt")[:3]
    await move(api, "rebuilt", *home)
    body = monthly("leaflets", max=2, name="two leaflets")
    await api.ok("PUT", "/v1/contact-policies/leaflet", json=body)
    for member in home:
        await decide(api, member, "post")
    await move(api, "elsewhere", home[0])  # the log tells what household it was
    before = await contacts_in(api, "rebuilt")
    assert len(before) == 3
    await settle(api)
    await shop.worker.drain()
    await state.redis.delete(state.keys.household("rebuilt"))
    await Rebuilder(
        state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
    ).rebuild()
    assert await contacts_in(api, "rebuilt") == before
    await settle(api)
    assert await contacts_in(api, "rebuilt") == before
    await api.ok("DELETE", "/v1/contact-policies/leaflet")


async def test_a_household_that_cannot_be_read_gets_no_letter(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move(api, "dark", "owl")

    async def unreadable(*arguments: Any) -> Any:
        raise RedisUnavailable("no")

    monkeypatch.setattr(api.state.decision_log.households, "read", unreadable)
    answer = await decide(api, "owl", "post", explain=True)
    assert [offer["offer_id"] for offer in answer["offers"]] == ["leaflet"]
    assert answer["degraded"] == ["contact_history_unavailable"]
    (stop,) = next(one for one in answer["explanation"] if one["offer_id"] == "card")["stops"]
    assert stop["observed"] == "the contact history cannot be read"
    assert stop["required"]["per"] == "household"
    monkeypatch.undo()
    # A bucket that lost what it held, too, while that of the customer is whole.
    state = api.state
    whole = state.keys.whole(state.keys.bucket("dark"))
    mark = await state.redis.get(whole)
    assert mark is not None
    assert state.keys.bucket("dark") != state.keys.bucket("owl")
    await state.redis.delete(whole)
    lost = await decide(api, "owl", "post")
    await state.redis.set(whole, mark)
    assert letters_of(lost) == []
    assert lost["degraded"] == ["contact_history_unavailable"]


async def test_a_replay_draws_within_the_households_limits(shop: Nextbest) -> None:
    api = shop.api
    await move(api, "replayed", "rita", "rolf")
    assert len(letters_of(await decide(api, "rita", "post"))) == 1
    await api.ok("PATCH", "/v1/contact-policies/letter", json={"max": 2})
    answer = await decide(api, "rolf", "post")
    await shop.worker.drain()
    assert len(letters_of(answer)) == 1  # of two slots, since the household had one already
    again = await replay(answer["decision_id"], api.state.archive, api.state.catalogues, Roster())
    assert again.identical
    await api.ok("PUT", "/v1/contact-policies/letter", json=monthly("letters"))


async def test_impossible_combinations_are_refused(api: Instance) -> None:
    for outcomes in (["presented"], ["decided", "accepted"]):
        body = monthly("letters", outcomes=outcomes)
        refused = await api.call("PUT", "/v1/contact-policies/wrong", json=body)
        assert "per household" in problem_of(refused, 422, "outcomes")["detail"]
    refused = await api.call("PUT", "/v1/contact-policies/wrong", json=monthly("letters", per="street"))
    problem_of(refused, 422, "per")
    assert (await api.call("GET", "/v1/contact-policies/wrong")).status_code == 404


async def test_a_limit_per_household_is_not_lifted_by_the_way(api: Instance) -> None:
    body = {name: value for name, value in monthly("letters").items() if name != "per"}
    refused = await api.call("PUT", "/v1/contact-policies/letter", json=body)
    assert refused.status_code == 409
    assert "per" in refused.json()["detail"]


async def test_a_household_is_stored_read_and_removed(api: Instance) -> None:
    path = "/v1/customers/member"
    await api.ok("PUT", path, json={"household_id": "  H-1 ", "attributes": {"age": 3}})
    assert (await api.ok("GET", path))["household_id"] == "H-1"
    lost = await api.call("PUT", path, json={"attributes": {"age": 4}})
    assert "household_id" in problem_of(lost, 409)["detail"]
    await api.ok("PATCH", path, json={"attributes": {"age": 5}})
    assert (await api.ok("GET", path))["household_id"] == "H-1"
    await api.ok("PATCH", path, json={"household_id": "H-2"})
    assert (await api.ok("GET", path))["household_id"] == "H-2"
    await api.ok("PATCH", path, json={"household_id": None})
    assert (await api.ok("GET", path))["household_id"] is None
    for wrong in ("", "x" * 129, "a\nb", 7):
        problem_of(await api.call("PATCH", path, json={"household_id": wrong}), 422, "household_id")


async def test_imports_bring_households(api: Instance) -> None:
    def file(*rows: list[str]) -> bytes:
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        return out.getvalue().encode()

    async def load(content: bytes) -> Any:
        return await api.ok(
            "POST", "/v1/imports/customers", content=content, headers={"Content-Type": "text/csv"}
        )

    await load(file(["customer_id", "household_id"], ["im-1", "I-1"], ["im-2", ""], ["im-3", "I-3"]))
    read = [(await api.ok("GET", f"/v1/customers/im-{n}"))["household_id"] for n in (1, 2, 3)]
    assert read == ["I-1", None, "I-3"]
    await load(file(["customer_id", "age"], ["im-1", "7"]))  # it says nothing of it
    await load(file(["customer_id", "household_id"], ["im-3", ""]))
    read = [(await api.ok("GET", f"/v1/customers/im-{n}"))["household_id"] for n in (1, 2, 3)]
    assert read == ["I-1", None, None]
    long = file(["customer_id", "household_id"], ["im-4", "x" * 129])
    answer = await api.call(
        "POST", "/v1/imports/customers", content=long, headers={"Content-Type": "text/csv"}
    )
    assert "household_id" in answer.text
    assert (await api.call("GET", "/v1/customers/im-4")).status_code == 404


async def test_what_is_held_on_a_person_names_the_household_and_an_erasure_forgets_it(shop: Nextbest) -> None:
    api = shop.api
    await move(api, "H-gone", "leaver", "left")
    decided = await decide(api, "leaver", "post", decision_id="my-letter")
    keys, before = api.state.keys, await contacts_in(api, "H-gone")
    reservations = keys.reservations(keys.bucket("H-gone"))
    note = reservation_note(keys.bucket("leaver"), "my-letter", "H-gone")
    assert await api.state.redis.zscore(reservations, note) is not None
    await shop.worker.drain()
    held = await api.ok("GET", "/v1/customers/leaver/export")
    assert held["record"]["household_id"] == "H-gone"
    await erase(api, "leaver")
    await shop.worker.drain()
    row = await api.state.redis.hget(
        api.state.keys.decision(api.state.keys.bucket("leaver"), decided["decision_id"]), "hh"
    )
    assert row is None
    # Nothing leads from the household to the person's decisions, which still count for the other members.
    assert await api.state.redis.zscore(reservations, note) is None
    after = await contacts_in(api, "H-gone")
    assert b"my-letter" not in b"".join(after)
    assert sorted(after.values()) == sorted(before.values()) != []
    assert await api.state.redis.pttl(keys.household("H-gone")) > LATER_MS
    assert letters_of(await decide(api, "left", "post")) == []
    assert "H-gone" not in (await api.call("GET", f"/v1/decisions/{decided['decision_id']}")).text


async def erase(api: Instance, customer_id: str) -> None:
    """Erase a person while no decision may take long: erasures wait for those that are being made."""
    for deadline_ms in (1_000, 60_000):
        for placement in ("post", "call"):
            await api.ok("PATCH", f"/v1/placements/{placement}", json={"deadline_ms": deadline_ms})
        if deadline_ms == 1_000:
            await api.ok("POST", f"/v1/customers/{customer_id}/erase", json={})


async def contacted(api: Instance, customer_id: str, event_id: str, **fields: Any) -> str:
    """Tell of a letter that another system sent."""
    body = {"event_id": event_id, "customer_id": customer_id, "type": "mailed"} | fields
    return str((await api.ok("POST", "/v1/events", json=body, role="frontend"))["status"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mailed(api: Instance, letters: None) -> None:
    """A type of events that are letters of another system."""
    body = {"name": "Mailed", "contact": {"channel": "letter", "group": "letters"}}
    await api.ok("PUT", "/v1/event-types/mailed", json=body)


async def rebuild_households(shop: Nextbest, *households: str) -> None:
    """Lose the histories of households, and rebuild them from the archive."""
    state = shop.api.state
    await shop.worker.drain()
    await state.redis.delete(*(state.keys.household(one) for one in households))
    await Rebuilder(
        state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
    ).rebuild()


async def test_a_letter_of_another_system_counts_for_the_household_once(shop: Nextbest, mailed: None) -> None:
    api = shop.api
    first, other, *_ = members(api, "told")
    await move(api, "told", first, other)
    assert await contacted(api, first, "letter-1") == "recorded"
    assert letters_of(await decide(api, other, "post")) == []
    (before,) = [await contacts_in(api, "told")]
    assert list(before) != []
    assert [b":letters:grow:d:letter:event:letter-1" in name for name in before if b"event:" in name] == [
        True
    ]
    # Told again after a move, it counts where it did.
    await move(api, "told-2", first)
    assert await contacted(api, first, "letter-1") == "duplicate"
    assert await contacts_in(api, "told-2") == {}
    await settle(api)
    assert await contacts_in(api, "told") == before
    await rebuild_households(shop, "told", "told-2")
    assert await contacts_in(api, "told") == before
    assert await contacts_in(api, "told-2") == {}
    assert letters_of(await decide(api, other, "post")) == []


async def test_a_letter_is_not_taken_while_its_household_cannot_be_found(
    api: Instance, mailed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move(api, "unfound", "lost", "found")

    async def unreadable(customer_id: str) -> str | None:
        raise PostgresUnavailable("no")

    event = {"event_id": "l-1", "customer_id": "lost", "type": "mailed"}
    with monkeypatch.context() as patched:
        patched.setattr(api.state.events._log, "_home_of", unreadable)
        refused = await api.call("POST", "/v1/events", json=event, role="frontend")
    assert refused.status_code == 503
    assert await contacted(api, "lost", "l-1") == "recorded"
    assert letters_of(await decide(api, "found", "post")) == []


async def test_a_letter_counts_also_if_its_sender_is_killed_before_it_is_recorded(
    api: Instance, mailed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move(api, "cut", "cutter", "cut-off")
    pipe, events = api.state.pipe, api.state.events
    function = pipe.function

    async def broken(name: str, *arguments: Any) -> Any:
        if name == "nb_event":
            raise RedisUnavailable("no")
        return await function(name, *arguments)

    event = ReceivedEvent("k-1", "cutter", "mailed", {})
    with monkeypatch.context() as patched:
        patched.setattr(pipe, "function", broken)
        with pytest.raises(RedisUnavailable):
            await events.record(event)
    assert await events.record(event) == "recorded"
    assert len(await contacts_in(api, "cut")) == 1
    assert letters_of(await decide(api, "cut-off", "post")) == []


async def test_what_a_visitor_was_offered_counts_for_the_household_of_the_customer(
    shop: Nextbest, mailed: None
) -> None:
    api = shop.api
    await move(api, "joined", "customer-j", "partner-j")
    answer = await decide(api, "visitor:joined-0", "post")
    assert len(letters_of(answer)) == 1
    assert letters_of(await decide(api, "partner-j", "post", dry_run=True))
    await contacted(api, "visitor:joined-0", "letter-2")
    body = {"visitor_id": "visitor:joined-0"}
    await api.ok("POST", "/v1/customers/customer-j/merge", json=body, role="frontend")
    assert letters_of(await decide(api, "partner-j", "post")) == []
    before = await contacts_in(api, "joined")
    told = [name for name in before if b":letters:" in name]
    assert len(told) == 2  # the decision's and the event's
    await settle(api)
    await move(api, "joined-2", "customer-j")  # what counted stays where it was
    await rebuild_households(shop, "joined", "joined-2")
    assert await contacts_in(api, "joined") == before
    assert await contacts_in(api, "joined-2") == {}
    # Not even where the visitor's own history is gone as well.
    await api.state.redis.delete(api.state.keys.contact("visitor:joined-0"))
    await rebuild_households(shop, "joined")
    assert await contacts_in(api, "joined") == before


async def test_what_a_visitor_did_not_see_leaves_the_household(shop: Nextbest) -> None:
    api, state = shop.api, shop.api.state
    await move(api, "unseen", "customer-u", "partner-u")
    called = await decide(api, "visitor:unseen-0", "call")
    # Through another visitor, whose household is none.
    for who, visitor in (("visitor:unseen-1", "unseen-0"), ("customer-u", "unseen-1")):
        await api.ok("POST", f"/v1/customers/{who}/merge", json={"visitor_id": visitor}, role="frontend")
    assert letters_of(await decide(api, "partner-u", "post")) == []
    bucket, reader = state.keys.bucket("visitor:unseen-0"), LogReader(state.redis, state.keys)

    async def released() -> bool:
        await reader.release([(bucket, called["decision_id"])], clock.now_ms())
        await state.merging.finish()
        return not [name for name in await contacts_in(api, "unseen") if b":letters:" in name]

    await eventually(released, "what was not seen to leave the household")
    assert letters_of(await decide(api, "partner-u", "post"))


async def test_an_erasure_disguises_letters_of_others_and_of_visitors(shop: Nextbest, mailed: None) -> None:
    api = shop.api
    await move(api, "parted", "leaver-2", "left-2")
    answer = await decide(api, "visitor:parted-0", "post")
    body = {"visitor_id": "visitor:parted-0"}
    await api.ok("POST", "/v1/customers/leaver-2/merge", json=body, role="frontend")
    await contacted(api, "leaver-2", "archived-letter")
    await shop.worker.drain()
    await contacted(api, "leaver-2", "streamed-letter")
    before = await contacts_in(api, "parted")
    await erase(api, "leaver-2")
    await shop.worker.drain()
    after = await contacts_in(api, "parted")
    assert sorted(after.values()) == sorted(before.values()) != []
    names = b"".join(after)
    for name in (b"archived-letter", b"streamed-letter", answer["decision_id"].encode()):
        assert name in b"".join(before)
        assert name not in names
    assert letters_of(await decide(api, "left-2", "post")) == []
