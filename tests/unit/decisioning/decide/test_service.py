"""The path of a decision when its stores are late, lost, or were faster for somebody else."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from decisioning.capacity.lease import NO_RESERVATION, Reservation
from decisioning.decide.policy_runner import assign_holdouts
from decisioning.decide.service import DecisionInputs, DecisionService
from decisioning.errors import Conflict, Invalid, NotFound
from decisioning.holdouts.holdout import Holdout
from decisioning.learning.replica import ArmReplica
from decisioning.log.owners import owner_note
from decisioning.log.ports import DecideReply, ReadReply
from decisioning.model.decision import Contact, Decision
from decisioning.model.deployment import Deployment
from decisioning.model.entities import ContactLimit
from decisioning.model.selection import Choice
from decisioning.policies.roster import Roster
from profiles.customer import NO_OFFERS, NO_PROPENSITIES, Customer, Profile, Suppression
from storage.errors import PostgresUnavailable, RedisUnavailable
from storage.keys import Keys
from tests.support.decided import decision as decided
from tests.support.shop import NOW_MS, catalogue_with, offer
from tests.support.waiting import eventually

LIMIT = ContactLimit(1, 3600)
Write = Callable[[Decision], "DecideReply | Exception"]


class Log:
    """The hot side of the log: each write is answered by ``replies`` in turn, the last one for ever."""

    def __init__(self, *replies: Write, delay_s: float = 0.0) -> None:
        self.read_reply: ReadReply | Exception = ReadReply(None, [])
        self.replies = list(replies) or [lambda _: DecideReply(True)]
        self.delay_s = delay_s
        self.written: list[Decision] = []
        self.withdrawn: list[str] = []

    async def read(
        self,
        customer_id: str,
        with_history: bool,
        own_id: str | None = None,
        window_ms: int = 0,
        with_events: bool = False,
    ) -> ReadReply:
        """Give what was prepared."""
        if isinstance(self.read_reply, Exception):
            raise self.read_reply
        return self.read_reply

    async def bucket_of(self, decision_id: str) -> int | None:
        """Know of no decision."""
        return None

    def decide(self, decision: Decision, *arguments: Any) -> "asyncio.Task[DecideReply]":
        """Answer the write after a while."""
        self.written.append(decision)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

        async def write() -> DecideReply:
            await asyncio.sleep(self.delay_s)
            found = reply(decision)
            if isinstance(found, Exception):
                raise found
            return found

        return asyncio.create_task(write())

    async def read_household(self, household_id: str, decision_id: str, now_ms: int) -> list[Contact]:
        """Nobody belongs to a household here."""
        raise AssertionError

    async def withdraw(
        self,
        customer_id: str,
        decision_id: str,
        decided_at_ms: int,
        now_ms: int,
        attempt: str = "",
        household_id: str | None = None,
    ) -> None:
        """Note that it was asked for."""
        self.withdrawn.append(decision_id)

    async def resolve(self, customer_id: str) -> str:
        """Nobody is anybody's alias here."""
        return customer_id

    async def has_withdrawn(self) -> bool:
        """Tell whether anything was withdrawn."""
        return bool(self.withdrawn)


class Profiles:
    """Customers without a record; or a Postgres that does not answer."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """An unknown customer."""
        if self.down:
            raise PostgresUnavailable("gone")
        return Profile.unknown(customer_id)


class Archive:
    """Nothing was archived."""

    async def decision(self, decision_id: str) -> None:
        """None."""

    async def outcomes(self, decision_id: str, decided_at_ms: int | None = None) -> list[Any]:
        """None."""
        return []


class Capacity:
    """One unit less than is asked for: the first offer that is chosen has none."""

    def __init__(self) -> None:
        self.refused: list[int] = []

    def exhausted(self, view: Any, now_ms: int) -> frozenset[int]:
        """None that is known of."""
        return frozenset()

    def withheld(self, view: Any) -> frozenset[int]:
        """None."""
        return frozenset()

    def prices(self, view: Any, now_ms: int) -> tuple[()]:
        """None."""
        return ()

    async def take(self, view: Any, choices: Sequence[Choice], now_ms: int) -> Reservation:
        """Refuse the first time."""
        if self.refused:
            return NO_RESERVATION
        self.refused.append(choices[0].row)
        return Reservation((), choices[0].row)

    def done(self, reservation: Reservation, write: Any) -> None:
        """Nothing was taken."""


def service(log: Log, shop: Any = None, profiles: Profiles | None = None, **fields: Any) -> DecisionService:
    """The service on fakes; ``calibrated`` has its arms."""
    catalogue = shop or catalogue_with(
        [offer(1), offer(2)], {"default_offers": ("o2",), "control_share": 0.0}
    )
    roster = Roster()
    replica = ArmReplica(roster)
    replica.load("calibrated@1", 3, ())
    arguments: dict[str, Any] = {
        "catalogue": lambda: catalogue,
        "replica": replica,
        "roster": roster,
        "decision_log": log,
        "archive": Archive(),
        "profiles": profiles or Profiles(),
        "keys": Keys(8),
        "clock_ms": lambda: NOW_MS,
        "entropy": lambda: bytes(16),
        "policy_budget_ms": 10_000.0,
    }
    return DecisionService(**(arguments | fields))


def request(**fields: Any) -> DecisionInputs:
    """A request of one customer."""
    return replace(DecisionInputs("ann", "home", {}, deadline_ms=60_000), **fields)


async def test_a_decision_is_written_once_and_answered_as_written() -> None:
    log = Log()
    answer = await service(log).decide(request())
    (written,) = log.written
    assert answer["decision_id"] == written.decision_id
    assert [o["offer_id"] for o in answer["offers"]] == [o.offer_id for o in written.offers]
    assert answer["degraded"] == []
    assert answer["feedback_until"] is not None


async def test_a_dry_run_writes_nothing_and_takes_no_feedback() -> None:
    log = Log()
    answer = await service(log).decide(request(dry_run=True))
    assert len(answer["offers"]) == 1
    assert answer["feedback_until"] is None
    assert log.written == []


async def test_a_deadline_that_passes_while_writing_answers_defaults_and_withdraws() -> None:
    log = Log(delay_s=0.2)
    one = service(log)
    answer = await one.decide(request(deadline_ms=50))
    assert answer["degraded"] == ["deadline_exceeded"]
    assert [o["offer_id"] for o in answer["offers"]] == ["o2"]
    await eventually(log.has_withdrawn, "the withdrawal")
    assert log.withdrawn == [log.written[0].decision_id]
    await one.close()


async def test_without_redis_the_answer_is_not_logged_and_says_so() -> None:
    log = Log()
    log.read_reply = RedisUnavailable("gone")
    answer = await service(log).decide(request())
    assert answer["degraded"] == ["contact_history_unavailable"]
    assert len(answer["offers"]) == 1
    assert (answer["feedback_until"], log.written) == (None, [])


class Merged(Profiles):
    """Postgres knows that all visitors are ann, who is on a suppression list."""

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """Ann's."""
        ann = replace(
            Customer.unknown("ann"), suppressions=(Suppression.read("stop", "asked", None, 0, None),)
        )
        return Profile(ann, NO_OFFERS, NO_PROPENSITIES)


@pytest.mark.parametrize("found", [RedisUnavailable("gone"), ReadReply(None, [])])
async def test_a_visitor_who_signed_in_is_the_customer_where_redis_cannot_tell(found: Any) -> None:
    log, decisions = Log(), list[Decision]()
    log.read_reply = found
    one = service(log, profiles=Merged(), on_decided=decisions.append)
    answer = await one.decide(request(customer_id="visitor:page"))
    assert answer["offers"] == []
    assert [decision.customer_id for decision in decisions] == ["ann"]


class LateArchive(Archive):
    """Does not answer."""

    async def decision(self, decision_id: str) -> None:
        """Fail."""
        raise PostgresUnavailable("gone")


async def test_whose_an_own_id_was_that_cannot_be_looked_up_is_no_conflict_and_nothing_is_logged() -> None:
    log = Log()
    log.read_reply = ReadReply(None, [], owner=owner_note(3, "visitor:page", "mine"))
    answer = await service(log, archive=LateArchive()).decide(request(decision_id="mine"))
    assert answer["degraded"] == ["earlier_answer_unavailable"]
    assert (answer["feedback_until"], log.written) == (None, [])
    with pytest.raises(Conflict, match="another customer"):
        await service(log).decide(request(decision_id="mine"))


async def test_without_both_stores_the_defaults_are_answered() -> None:
    log = Log()
    log.read_reply = RedisUnavailable("gone")
    answer = await service(log, profiles=Profiles(down=True)).decide(request())
    assert answer["degraded"] == ["contact_history_unavailable", "profile_unavailable"]
    assert [o["offer_id"] for o in answer["offers"]] == ["o2"]
    assert answer["policy"] == {"name": "default", "version": 1}


async def test_redis_lost_while_writing_a_limit_is_decided_anew_under_another_id_and_withdrawn() -> None:
    ids = iter([bytes(16), bytes(15) + b"!"])
    shop = catalogue_with([offer(1, contact_limits=(LIMIT,)), offer(2, value=0.001)], {"control_share": 0.0})
    log = Log(lambda _: RedisUnavailable("lost"))
    one = service(log, shop, entropy=lambda: next(ids))
    answer = await one.decide(request())
    await eventually(log.has_withdrawn, "the withdrawal")
    written = log.written[0]
    assert log.withdrawn == [written.decision_id]
    if written.offers[0].offer_id == "o1":
        assert answer["decision_id"] != written.decision_id
    assert [o["offer_id"] for o in answer["offers"]] == ["o2"]
    assert answer["degraded"] == ["contact_history_unavailable"]
    assert answer["feedback_until"] is None
    await one.close()


async def test_a_limit_that_somebody_else_reached_first_leads_to_another_choice() -> None:
    log = Log(lambda d: DecideReply(False, reached=(d.offers[0].offer_id,)), lambda _: DecideReply(True))
    await service(log).decide(request())
    first, second = log.written
    assert {first.offers[0].offer_id, second.offers[0].offer_id} == {"o1", "o2"}
    assert first.decision_id == second.decision_id
    assert second.offers[0].probability == 1.0


async def test_an_offer_without_a_unit_of_capacity_drops_out_before_the_write() -> None:
    log, capacity = Log(), Capacity()
    answer = await service(log, capacity=capacity).decide(request())
    (written,) = log.written
    left = {1: "o1", 0: "o2"}[1 - capacity.refused[0]]
    assert [o["offer_id"] for o in answer["offers"]] == [o.offer_id for o in written.offers]
    assert written.offers[0].offer_id != f"o{capacity.refused[0] + 1}"
    assert left in ("o1", "o2")
    assert written.customer_snapshot is not None
    assert written.customer_snapshot.exhausted == (capacity.refused[0] + 1,)


@pytest.mark.parametrize("note", [f"{Keys(8).bucket('ann')} ann", owner_note(0, "ann", "mine")])
async def test_a_retry_with_the_callers_own_id_gets_the_first_answer(note: str) -> None:
    log = Log()
    earlier = decided("mine", placement="home", offers=(), feedback_until="2026-01-01T00:00:00.000Z")
    log.read_reply = ReadReply(None, [], note, earlier)
    answer = await service(log).decide(request(decision_id="mine", explain=True))
    assert answer["decision_id"] == "mine"
    assert answer["feedback_until"] == "2026-01-01T00:00:00.000Z"
    assert "explanation" not in answer
    assert log.written == []


@pytest.mark.parametrize(
    ("owner", "placement"),
    [
        ("0 somebody-else", "home"),
        (owner_note(0, "somebody-else", "mine"), "home"),
        (owner_note(0, "ann", "other"), "home"),
        (f"{Keys(8).bucket('ann')} ann", "desk"),
    ],
)
async def test_an_own_id_that_named_another_request_is_refused(owner: str, placement: str) -> None:
    log = Log()
    log.read_reply = ReadReply(None, [], owner, decided("mine", placement=placement))
    with pytest.raises(Conflict, match="'mine' was used for another"):
        await service(log).decide(request(decision_id="mine"))


async def test_what_cannot_be_asked_is_refused_before_anything_is_read() -> None:
    with pytest.raises(NotFound):
        await service(Log()).decide(request(placement="lost"))
    with pytest.raises(Invalid, match="made by nextbest"):
        await service(Log()).decide(request(decision_id=f"nb001-{bytes(16).hex()}"))


async def test_an_answer_is_drawn_again_a_bounded_number_of_times() -> None:
    """Whatever is offered, somebody else is faster: in the end only offers without limits are left."""
    limited = {"contact_limits": (ContactLimit(1, 60),)}
    shop = catalogue_with(
        [offer(1)] + [offer(n, **limited) for n in range(2, 30)], {"slots": 3, "control_share": 0.0}
    )

    def refuse_the_limited(record: Decision) -> DecideReply:
        reached = tuple(o.offer_id for o in record.offers if o.offer_id != "o1")
        return DecideReply(not reached, reached=reached)

    log = Log(*[refuse_the_limited] * 10)
    answer = await service(log, shop).decide(request())
    assert [o["offer_id"] for o in answer["offers"]] == ["o1"]
    assert [record.redraws for record in log.written] == [0, 1, 2, 3]
    assert log.written[-1].offers[0].probability == 1.0


async def test_a_placement_logs_the_facts_that_it_asks_for() -> None:
    logs: dict[tuple[str, ...], Any] = {}
    for asked in ((), ("context.reason",)):
        log = Log()
        shop = catalogue_with([offer(1)], {"control_share": 0.0, "log_facts": asked})
        answer = await service(log, shop).decide(request(context={"reason": "moving"}))
        assert answer["degraded"] == []
        logs[asked] = log.written[0].facts
    assert logs == {(): {}, ("context.reason",): {"context.reason": "moving"}}


HELD_OUT = {
    "all": {"all": Holdout("all", 0.5)},
    "exempt": {"all": Holdout("all", 0.5, exempt_groups=("loans",))},
}


def held_out_customer() -> str:
    """A customer who is held out from everything."""
    names = (f"customer-{n}" for n in range(100))
    return next(n for n in names if assign_holdouts(n, HELD_OUT["all"].values(), NOW_MS))


def shop_with_holdout(which: str = "all", **fields: Any) -> Any:
    """A shop that would offer much: a mandatory offer, defaults that fill the slots, an offer of the exempt group."""
    offers = [offer(1, mandatory=True), offer(2), offer(3, group="loans")]
    settings = {"default_offers": ("o1", "o2", "o3"), "fill_with_defaults": True, "slots": 3}
    return catalogue_with(offers, settings | {"control_share": 0.0}, holdouts=HELD_OUT[which], **fields)


@pytest.mark.parametrize("which", HELD_OUT)
@pytest.mark.parametrize(
    ("degraded", "redis", "postgres", "delay_s"),
    [
        ([], True, True, 0.0),
        (["contact_history_unavailable"], False, True, 0.0),
        (["contact_history_unavailable", "profile_unavailable"], False, False, 0.0),
        (["deadline_exceeded"], True, True, 0.2),
    ],
)
async def test_who_is_held_out_is_offered_nothing_whatever_fails(
    which: str, degraded: list[str], redis: bool, postgres: bool, delay_s: float
) -> None:
    log = Log(delay_s=delay_s)
    if not redis:
        log.read_reply = RedisUnavailable("gone")
    one = service(log, shop_with_holdout(which), Profiles(down=not postgres))
    customer = held_out_customer()
    answer = await one.decide(request(customer_id=customer, deadline_ms=50 if delay_s else 60_000))
    assert [o["offer_id"] for o in answer["offers"]] == (["o3"] if which == "exempt" else [])
    assert (answer["degraded"], answer["holdouts"]) == (degraded, ["all"])
    assert all(written.holdouts == ("all",) for written in log.written)
    assert bool(log.written) is redis
    await one.close()


async def test_who_is_held_out_is_offered_nothing_in_dry_runs_by_broken_policies_and_by_the_callers_choice() -> (
    None
):
    customer, log = held_out_customer(), Log()
    dry = await service(log, shop_with_holdout()).decide(
        request(customer_id=customer, dry_run=True, explain=True)
    )
    assert (dry["offers"], dry["holdouts"], dry["nothing_right_now"]) == ([], ["all"], True)
    assert {one["stage"] for one in dry["explanation"]} == {"holdout"}

    broken = service(log, shop_with_holdout())
    broken._runner._replica = ArmReplica(broken._roster)  # no arms
    failed = await broken.decide(request(customer_id=customer))
    assert (failed["offers"], failed["degraded"], failed["holdouts"]) == ([], ["arms_unavailable"], ["all"])

    apprentice = Deployment("home", "calibrated@1", apprentice=True)
    shop = shop_with_holdout(deployments={"home": apprentice})
    chosen = await service(log, shop).decide(request(customer_id=customer, baseline=("o2", "o1")))
    assert (chosen["offers"], chosen["holdouts"]) == ([], ["all"])
