"""The contact policy on real Redis functions, against an oracle that knows only lists of contacts.

The oracle counts by going through everything that ever happened, for each rule in its own words. It shares no code with
the policy, neither the Python nor the Lua.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from decisioning.contact import parse_history
from decisioning.service.feedback import SKEW_MS
from decisioning.stores.log import RedisLog
from decisioning.stores.streams import LogReader, make_redis
from tests import contact_world as world

START_MS = 1_800_000_000_000
DAY_MS = 86_400_000
GRACE_MS = 10**9
STEPS_MS = (0, 1, 2_000, 4_999, 5_000, 8_000, 50_000, 100_000)
LENGTHS_S = (5, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 86_400)
GROUP_OF = {
    "gold": "cards",
    "blue": "cards",
    "home": "loans",
    "car": "loans",
    "bill": "service",
    "news": "service",
}
GOAL_OF = {"cards": "grow", "loans": "acquire", "service": "serve"}
WISHES: tuple[dict[str, float], ...] = (
    {},
    {"max_contacts_per_day": 4},
    {"min_gap_s": 5},
    {"max_contacts_per_week": 6.5},
)

_numbers = itertools.count()
T = TypeVar("T")


@dataclass
class Event:
    """A contact as the oracle remembers it."""

    at_ms: int
    offer: str
    kind: str
    channel: str
    decision: str

    @property
    def counts(self) -> bool:
        return self.offer != "bill"


@dataclass
class Decided:
    """A decision as the oracle remembers it."""

    offers: list[str]
    channel: str
    at_ms: int
    answers: set[tuple[str, str]] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    due_ms: int | None = None


class Oracle:
    """What happened, and what follows from it."""

    def __init__(self, wishes: dict[str, float]) -> None:
        self.events: list[Event] = []
        self.wishes = wishes

    def full(
        self, matching: Callable[[Event], bool], most: float, window_s: float, now: int, pause_s: int = 0
    ) -> bool:
        """Whether no more contact may take place, by trying out every moment since the first one."""
        times = [e.at_ms for e in self.events if matching(e)]

        def count(moment: int, last: int | None = None) -> int:
            return sum(moment - window_s * 1000 < t and (last is None or t <= last) for t in times)

        if count(now) >= most:
            return True
        return any(count(t, t) >= most and now < t + pause_s * 1000 for t in times)

    def forbids(self, offer: str, channel: str, now: int) -> bool:
        """Whether any rule of the catalogue or wish of the customer forbids an offer."""
        return (offer != "bill" and self._too_often(offer, channel, now)) or self._excluded(offer, now)

    def _too_often(self, offer: str, channel: str, now: int) -> bool:
        group = GROUP_OF[offer]
        goal = GOAL_OF[group]

        def decided(e: Event) -> bool:
            return e.kind == "decided" and e.counts

        checks = [
            self.full(decided, 3, 30, now),
            self.full(lambda e: decided(e) and GROUP_OF[e.offer] == group, 2, 20, now, 25),
        ]
        if goal == "acquire":
            loans = ("presented", "accepted")
            checks.append(
                self.full(lambda e: e.kind in loans and GOAL_OF[GROUP_OF[e.offer]] == goal, 1, 40, now)
            )
        if channel == "phone":
            checks.append(
                self.full(lambda e: decided(e) and e.offer == offer and e.channel == "phone", 1, 12, now)
            )
        if offer == "gold":
            checks.append(self.full(lambda e: decided(e) and e.offer == "gold", 2, 10, now))
        if "max_contacts_per_day" in self.wishes:
            checks.append(self.full(decided, self.wishes["max_contacts_per_day"], 86_400, now))
        if "max_contacts_per_week" in self.wishes:
            checks.append(self.full(decided, int(self.wishes["max_contacts_per_week"]), 7 * 86_400, now))
        if "min_gap_s" in self.wishes:
            checks.append(self.full(decided, 1, self.wishes["min_gap_s"], now))
        return any(checks)

    def _excluded(self, offer: str, now: int) -> bool:
        def since(offers: set[str], kinds: set[str], within_s: int) -> bool:
            return any(
                e.offer in offers and e.kind in kinds and now - e.at_ms < within_s * 1000 for e in self.events
            )

        cards, brand = {"gold", "blue"}, {"home", "car", "news"}
        return (
            (offer in cards and since({"gold"}, {"rejected"}, 30))
            or (offer == "blue" and since({"home"}, {"accepted"}, 20))
            or (offer in brand and since({"home"}, {"rejected"}, 60))
            or (offer == "car" and since(cards, {"decided", "clicked"}, 15))
            or (offer == "bill" and since({"bill"}, {"rejected"}, 20))
        )

    def add(self, at_ms: int, offer: str, kind: str, channel: str, decision: str) -> None:
        self.events.append(Event(at_ms, offer, kind, channel, decision))

    def held(self) -> set[tuple[str, str, str, str, int]]:
        """What the contact history should hold."""
        return {
            (e.offer, GROUP_OF[e.offer], e.kind[0] if e.counts else e.kind[0].upper(), e.channel, e.at_ms)
            for e in self.events
            if e.counts or e.kind != "decided"
        }


class Driver:
    """The real functions, called one after the other."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._open = world.redis_log(url)
        self.log: RedisLog = self.run(self._open.__aenter__())
        self._redis = make_redis(url)
        self.reader = LogReader(self._redis, self.log.keys)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self._redis.aclose())
        self.run(self._open.__aexit__(None, None, None))
        self._loop.close()

    async def read(self, customer_id: str) -> list[bytes]:
        reply: list[bytes] = await self.log.pipe.call(
            "ZRANGE", self.log.keys.contact(customer_id), 0, -1, "WITHSCORES"
        )
        return reply


@pytest.fixture(scope="module")
def driver(redis_url: str) -> Any:
    """The functions on this module's Redis."""
    made = Driver(redis_url)
    yield made
    made.close()


def machine(driver: Driver) -> type[RuleBasedStateMachine]:
    """The state machine over one connection."""
    catalogue = world.catalogue()
    offers_of = st.lists(st.sampled_from(sorted(GROUP_OF)), min_size=1, max_size=3, unique=True)

    class Contacts(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.now = START_MS
            self.decisions: dict[str, Decided] = {}
            self.ids = itertools.count()

        @initialize(wishes=st.sampled_from(WISHES))
        def begin(self, wishes: dict[str, float]) -> None:
            self.who = world.customer(f"customer-{next(_numbers)}", attributes=wishes)
            self.bucket = driver.log.keys.bucket(self.who.customer_id)
            self.oracle = Oracle(wishes)

        @rule(step=st.sampled_from(STEPS_MS))
        def wait(self, step: int) -> None:
            self.now += step

        @precondition(lambda self: self.oracle.events)
        @rule(which=st.integers(0, 99), length_s=st.sampled_from(LENGTHS_S), early_ms=st.sampled_from((0, 1)))
        def wait_for_a_border(self, which: int, length_s: int, early_ms: int) -> None:
            event = self.oracle.events[which % len(self.oracle.events)]
            self.now = max(self.now, event.at_ms + length_s * 1000 - early_ms)

        @rule(channel=st.sampled_from(world.CHANNELS), offers=offers_of, repeated=st.integers(0, 9))
        def decide(self, channel: str, offers: list[str], repeated: int) -> None:
            decision = f"{self.who.customer_id}/{next(self.ids)}"
            if repeated == 0 and self.decisions:
                decision = next(iter(self.decisions))
            view = catalogue.view(channel)
            reply = driver.run(world.decide(driver.log, view, self.who, decision, offers, self.now))
            if decision in self.decisions:
                assert reply.earlier is not None
                assert [o["offer_id"] for o in reply.earlier["offers"]] == self.decisions[decision].offers
                return
            forbidden = []
            for offer in offers:  # those that are allowed count for the ones behind them
                if self.oracle.forbids(offer, channel, self.now):
                    forbidden.append(offer)
                else:
                    self.oracle.add(self.now, offer, "decided", channel, decision)
            assert reply.reached == tuple(forbidden)
            assert reply.written == (not forbidden)
            if forbidden:
                self._forget(decision)
                return
            due_ms = self.now + 8_000 if channel == "phone" else None
            self.decisions[decision] = Decided(offers, channel, self.now, due_ms=due_ms)

        @precondition(lambda self: self.decisions)
        @rule(
            data=st.data(),
            outcome=st.sampled_from(("presented", "clicked", "accepted", "rejected")),
            ago=st.sampled_from((0, 0, 1, 3_000, -60_000)),
        )
        def tell(self, data: st.DataObject, outcome: str, ago: int) -> None:
            decision = data.draw(st.sampled_from(sorted(self.decisions)))
            known = self.decisions[decision]
            offer = data.draw(st.sampled_from(known.offers))
            status, _ = driver.run(
                driver.log.feedback(
                    self.bucket, decision, offer, outcome, None, self.now - ago, self.now, SKEW_MS
                )
            )
            opposite = {"accepted": "rejected", "rejected": "accepted"}.get(outcome)
            if (offer, outcome) in known.answers:
                assert status == "duplicate"
            elif (offer, opposite) in known.answers:
                assert status == "contradicts"
            else:
                assert status in ("recorded", "late")
                at_ms = min(self.now, self.now - ago)
                if offer in known.released:
                    known.released.discard(offer)
                    self.oracle.add(at_ms, offer, "decided", known.channel, decision)
                self.oracle.add(at_ms, offer, outcome, known.channel, decision)
                known.answers.add((offer, outcome))

        @precondition(lambda self: self.decisions)
        @rule(data=st.data())
        def withdraw(self, data: st.DataObject) -> None:
            decision = data.draw(st.sampled_from(sorted(self.decisions)))
            known = self.decisions.pop(decision)
            driver.run(driver.log.withdraw(self.who.customer_id, decision, known.at_ms, self.now))
            self._forget(decision)

        @rule()
        def release(self) -> None:
            due = [(self.bucket, d) for d in self.decisions]
            driver.run(driver.reader.release(due, self.now))
            self._release(lambda known: known.due_ms is not None and known.due_ms <= self.now)

        @rule()
        def expire(self) -> None:
            over = {
                d for d, known in self.decisions.items() if known.at_ms + self._window_ms(known) < self.now
            }
            due = [(self.bucket, d) for d in self.decisions]
            closed = driver.run(driver.reader.expire(due, self.now, GRACE_MS))
            assert closed <= len(over)
            self._release(
                lambda known: known.due_ms is not None and known.at_ms + self._window_ms(known) < self.now
            )

        @staticmethod
        def _window_ms(known: Decided) -> int:
            return world.PLACEMENTS[known.channel].reward_window_s * 1000

        def _release(self, is_due: Callable[[Decided], bool]) -> None:
            for decision, known in self.decisions.items():
                if is_due(known):
                    known.due_ms = None
                    known.released = {o for o in known.offers if not any(a == o for a, _ in known.answers)}
                    self.oracle.events = [
                        e
                        for e in self.oracle.events
                        if not (e.decision == decision and e.kind == "decided" and e.offer in known.released)
                    ]

        def _forget(self, decision: str) -> None:
            self.oracle.events = [e for e in self.oracle.events if e.decision != decision]

        @invariant()
        def the_history_is_what_happened(self) -> None:
            reply = driver.run(driver.read(self.who.customer_id))
            names = {o.number: o.offer_id for o in world.OFFERS.values()}
            held = {(names[c.offer], c.group, c.kind, c.channel, c.at_ms) for c in parse_history(reply)}
            kept = {entry for entry in self.oracle.held() if entry[-1] > self.now - 7 * DAY_MS}
            assert {entry for entry in held if entry[-1] > self.now - 7 * DAY_MS} == kept

        @invariant()
        def what_is_read_gives_the_same_answer(self) -> None:
            contacts = parse_history(driver.run(driver.read(self.who.customer_id)))
            for channel in world.CHANNELS:
                view = catalogue.view(channel)
                allowed = view.contact.allowed(self.who, contacts, self.now)
                for row, offer in enumerate(view.offers):
                    assert allowed[row] == (not self.oracle.forbids(offer.offer_id, channel, self.now))
                    stops = view.contact.stops(row, self.who, contacts, self.now)
                    assert allowed[row] == (not stops)
                    again = [s.allowed_again_ms for s in stops if s.allowed_again_ms is not None]
                    if stops and len(again) == len(stops):
                        assert not view.contact.allowed(self.who, contacts, max(again) - 1)[row]
                        assert view.contact.allowed(self.who, contacts, max(again))[row]

    return Contacts


def test_the_policy_does_what_the_oracle_says(driver: Driver) -> None:
    run_state_machine_as_test(
        machine(driver),
        settings=settings(
            max_examples=200, stateful_step_count=40, suppress_health_check=list(HealthCheck), deadline=None
        ),
    )
