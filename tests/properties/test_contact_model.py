"""The contact policy on real Redis functions, against an oracle that knows only lists of contacts."""

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

from decisioning.catalog.catalogue import Catalogue
from decisioning.log.codec import parse_history
from decisioning.log.feedback_service import SKEW_MS
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from storage.clock import DAY_MS
from storage.redis import make_redis
from tests.support import contact_world as world
from tests.support.contact_oracle import GROUP_OF, Oracle

START_MS = 1_800_000_000_000
GRACE_MS = 10**9
STEPS_MS = (0, 1, 2_000, 4_999, 5_000, 8_000, 50_000, 100_000)
LENGTHS_S = (5, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 86_400)
WISHES: tuple[dict[str, float], ...] = (
    {},
    {"max_contacts_per_day": 4},
    {"min_gap_s": 5},
    {"max_contacts_per_week": 6.5},
)

OUTCOMES = ("presented", "clicked", "accepted", "rejected")
OFFERS_OF = st.lists(st.sampled_from(sorted(GROUP_OF)), min_size=1, max_size=3, unique=True)
STORIES = st.lists(
    st.tuples(
        st.sampled_from(world.CHANNELS),
        OFFERS_OF,
        st.sampled_from((None, *OUTCOMES)),
        st.sampled_from(STEPS_MS),
    ),
    max_size=5,
)
"""The past: for each decision its channel, its offers, the outcome of the first of them, and the time after."""

_numbers = itertools.count()
T = TypeVar("T")


@dataclass
class Decided:
    """A decision as the oracle remembers it."""

    offers: list[str]
    channel: str
    at_ms: int
    answers: set[tuple[str, str]] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    due_ms: int | None = None
    handed_out: bool = False
    """Another attempt under its id was answered with it: it is not taken back any more."""


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


class Contacts(RuleBasedStateMachine):
    """One customer, to whom anything may happen."""

    def __init__(self, driver: Driver, catalogue: Catalogue) -> None:
        super().__init__()
        self.driver = driver
        self.catalogue = catalogue
        self.now = START_MS
        self.decisions: dict[str, Decided] = {}
        self.ids = itertools.count()

    @initialize(wishes=st.sampled_from(WISHES), story=STORIES)
    def begin(self, wishes: dict[str, float], story: list[tuple[str, list[str], str | None, int]]) -> None:
        self.who = world.customer(f"customer-{next(_numbers)}", attributes=wishes)
        self.bucket = self.driver.log.keys.bucket(self.who.customer_id)
        self.oracle = Oracle(wishes)
        for channel, offers, outcome, step in story:
            decision = self._decide(channel, offers)
            if decision in self.decisions and outcome is not None:
                self._tell(decision, offers[0], outcome, 0)
            self.now += step
        for at_ms in sorted({event.at_ms for event in self.oracle.events}):
            self._look_ahead(at_ms)

    @rule(step=st.sampled_from(STEPS_MS))
    def wait(self, step: int) -> None:
        self.now += step

    @precondition(lambda self: self.oracle.events)
    @rule(which=st.integers(0, 99), length_s=st.sampled_from(LENGTHS_S), early_ms=st.sampled_from((0, 1)))
    def wait_for_a_border(self, which: int, length_s: int, early_ms: int) -> None:
        event = self.oracle.events[which % len(self.oracle.events)]
        self.now = max(self.now, event.at_ms + length_s * 1000 - early_ms)

    @precondition(lambda self: self.oracle.events)
    @rule(which=st.integers(0, 99))
    def look_ahead(self, which: int) -> None:
        self._look_ahead(self.oracle.events[which % len(self.oracle.events)].at_ms)

    def _look_ahead(self, at_ms: int) -> None:
        """At each border that a contact of then has: what would be allowed, if nothing else happened before."""
        borders = [at_ms + length_s * 1000 - early_ms for length_s in LENGTHS_S for early_ms in (0, 1)]
        self._same_answer([moment for moment in borders if moment > self.now])

    @rule(channel=st.sampled_from(world.CHANNELS), offers=OFFERS_OF, repeated=st.integers(0, 9))
    def decide(self, channel: str, offers: list[str], repeated: int) -> None:
        again = next(iter(self.decisions), None) if repeated == 0 else None
        self._decide(channel, offers, again)

    def _decide(self, channel: str, offers: list[str], again: str | None = None) -> str:
        """Decide, under an id that is known already if it is given; returns the id."""
        decision = again or f"{self.who.customer_id}/{next(self.ids)}"
        view = self.catalogue.view(channel)
        reply = self.driver.run(world.decide(self.driver.log, view, self.who, decision, offers, self.now))
        if again is not None:
            known = self.decisions[decision]
            assert reply.earlier is not None
            assert [o.offer_id for o in reply.earlier.offers] == known.offers
            # What is written again word for word is the same attempt, sent twice by its connection.
            if (offers, channel, self.now) != (known.offers, known.channel, known.at_ms):
                known.handed_out = True
            return decision
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
        else:
            due_ms = self.now + 8_000 if channel == "phone" else None
            self.decisions[decision] = Decided(offers, channel, self.now, due_ms=due_ms)
        return decision

    @precondition(lambda self: self.decisions)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), ago=st.sampled_from((0, 0, 1, 3_000, -60_000)))
    def tell(self, data: st.DataObject, outcome: str, ago: int) -> None:
        decision = data.draw(st.sampled_from(sorted(self.decisions)))
        self._tell(decision, data.draw(st.sampled_from(self.decisions[decision].offers)), outcome, ago)

    def _tell(self, decision: str, offer: str, outcome: str, ago: int) -> None:
        known = self.decisions[decision]
        status, _ = self.driver.run(
            world.tell(
                self.driver.log,
                self.bucket,
                decision,
                offer,
                outcome,
                None,
                self.now - ago,
                self.now,
                SKEW_MS,
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
        known = self.decisions[decision]
        self.driver.run(self.driver.log.withdraw(self.who.customer_id, decision, known.at_ms, self.now))
        if not known.handed_out:
            del self.decisions[decision]
            self._forget(decision)

    @rule()
    def release(self) -> None:
        due = [(self.bucket, d) for d in self.decisions]
        self.driver.run(self.driver.reader.release(due, self.now))
        self._release(lambda known: known.due_ms is not None and known.due_ms <= self.now)

    @rule()
    def expire(self) -> None:
        over = {d for d, known in self.decisions.items() if known.at_ms + self._window_ms(known) < self.now}
        due = [(self.bucket, d) for d in self.decisions]
        closed = self.driver.run(self.driver.reader.expire(due, self.now, GRACE_MS))
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
        reply = self.driver.run(self.driver.read(self.who.customer_id))
        names = {o.number: o.offer_id for o in world.OFFERS.values()}
        held = {(names[c.offer], c.group, c.kind, c.channel, c.at_ms) for c in parse_history(reply)}
        kept = {entry for entry in self.oracle.held() if entry[-1] > self.now - 7 * DAY_MS}
        assert {entry for entry in held if entry[-1] > self.now - 7 * DAY_MS} == kept

    @invariant()
    def what_is_read_gives_the_same_answer(self) -> None:
        self._same_answer([self.now])

    def _same_answer(self, moments: list[int]) -> None:
        """Check that the contacts read and the oracle agree on what is allowed, and when it will be again."""
        contacts = parse_history(self.driver.run(self.driver.read(self.who.customer_id)))
        for channel, now in itertools.product(world.CHANNELS, moments):
            view = self.catalogue.view(channel)
            allowed = view.contact.allowed(self.who, contacts, now)
            for row, offer in enumerate(view.offers):
                assert allowed[row] == (not self.oracle.forbids(offer.offer_id, channel, now))
                stops = view.contact.stops(row, self.who, contacts, now)
                assert allowed[row] == (not stops)
                again = [s.allowed_again_ms for s in stops if s.allowed_again_ms is not None]
                if stops and len(again) == len(stops):
                    assert not view.contact.allowed(self.who, contacts, max(again) - 1)[row]
                    assert view.contact.allowed(self.who, contacts, max(again))[row]


def test_the_policy_does_what_the_oracle_says(driver: Driver) -> None:
    catalogue = world.catalogue()

    class Connected(Contacts):
        def __init__(self) -> None:
            super().__init__(driver, catalogue)

    run_state_machine_as_test(
        Connected,
        settings=settings(
            max_examples=200, stateful_step_count=40, suppress_health_check=list(HealthCheck), deadline=None
        ),
    )
