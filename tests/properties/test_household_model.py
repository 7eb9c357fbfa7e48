"""Limits per household on real Redis functions, against an oracle that knows only lists of contacts.

Members decide, move, are killed between reserving and writing, are not told what was decided, confirm or do not. The
oracle counts what was decided for each member, and what was decided or reserved in each household, in its own words.
"""

import asyncio
import itertools
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decisioning.catalog.catalogue import Catalogue
from decisioning.log.feedback_service import SKEW_MS
from decisioning.log.households import store_contacts
from decisioning.log.households.store_reservations import Reservations
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from decisioning.model.decision import Contact
from decisioning.model.entities import ContactPolicy
from profiles.customer import Customer
from storage.redis import make_redis
from tests.support import contact_world as world
from tests.support.contact_oracle import GROUP_OF

POLICIES = {
    p.policy_id: p
    for p in (
        ContactPolicy("all", "three of a household", 3, 30, scope="all", per="household"),
        ContactPolicy(
            "cards", "one card", 1, 20, scope="group", applies_to="cards", suppress_s=25, per="household"
        ),
        ContactPolicy("calls", "one call", 1, 12, scope="all", channels=("phone",), per="household"),
        ContactPolicy("own", "two of their own", 2, 40, scope="all"),
    )
}
OFFERS = {
    offer_id: replace(offer, contact_limits=(), not_after=(), after_rejection=())
    for offer_id, offer in world.OFFERS.items()
}
MEMBERS = ("ann", "bob", "eva")
HOUSEHOLDS = ("red", "blue", None)
CONFIRM_MS = 8_000
STEPS = st.sampled_from((0, 1, 1_999, 7_999, 8_000, 12_000, 19_999, 20_000, 25_000, 30_000))

_numbers = itertools.count()

OPERATIONS = st.one_of(
    st.tuples(
        st.just("decide"),
        st.sampled_from(MEMBERS),
        st.sampled_from(world.CHANNELS),
        st.lists(st.sampled_from(sorted(GROUP_OF)), min_size=1, max_size=3, unique=True),
        st.sampled_from((False, False, False, True)),
    ),
    st.tuples(st.just("move"), st.sampled_from(MEMBERS), st.sampled_from(HOUSEHOLDS)),
    st.tuples(st.just("wait"), STEPS),
    st.tuples(st.just("settle")),
    st.tuples(st.just("release")),
    st.tuples(st.just("confirm"), st.integers(0, 9)),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
)


@dataclass
class Made:
    """A contact of the oracle: of a member, in a household, that stands there, or among the member's own, or not."""

    decision: str
    member: str
    household: str | None
    offer: str
    channel: str
    at_ms: int
    own: bool = True
    together: bool = True
    released: bool = False
    answered: bool = False


@dataclass
class Oracle:
    """All contacts that there were."""

    made: list[Made] = field(default_factory=list)

    @staticmethod
    def full(times: list[int], most: int, window_s: int, now: int, pause_s: int = 0) -> bool:
        """True if no more contact may take place, by trying out every moment."""
        if sum(now - window_s * 1000 < t for t in times) >= most:
            return True
        return any(
            sum(t - window_s * 1000 < s <= t for s in times) >= most and now < t + pause_s * 1000
            for t in times
        )

    def together(self, offer: str, channel: str, found: list[Made], now: int) -> bool:
        """True if a limit per household leaves no room beside these contacts."""
        calls = [m.at_ms for m in found if m.channel == "phone"]
        cards = [m.at_ms for m in found if GROUP_OF[m.offer] == "cards"]
        return (
            self.full([m.at_ms for m in found], 3, 30, now)
            or (GROUP_OF[offer] == "cards" and self.full(cards, 1, 20, now, 25))
            or (channel == "phone" and self.full(calls, 1, 12, now))
        )

    def refused(
        self, member: str, household: str | None, offers: list[str], channel: str, now: int
    ) -> tuple[list[str], list[str]]:
        """Return the offers that the household's limits refuse, and those that the member's contacts do."""
        shared = [m for m in self.made if m.together and household is not None and m.household == household]
        own = [m for m in self.made if m.own and m.member == member]
        by_household, by_own = [], []
        for offer in offers:
            contact = Made("", member, household, offer, channel, now)
            if offer == "bill":
                continue
            if household is not None and self.together(offer, channel, shared, now):
                by_household.append(offer)
            else:
                shared.append(contact)
            too_many = self.full([m.at_ms for m in own], 2, 40, now)
            if too_many or self.together(offer, channel, own, now):
                by_own.append(offer)
            else:
                own.append(contact)
        return by_household, by_own


class Story:
    """One run of what happens, on the real functions, with the oracle beside it."""

    def __init__(self, log: RedisLog, redis: Any) -> None:
        self.log, self.catalogue = (
            log,
            Catalogue(
                1, groups=world.GROUPS, offers=OFFERS, placements=world.PLACEMENTS, contact_policies=POLICIES
            ),
        )
        self.reader, self.reservations = LogReader(redis, log.keys), Reservations(redis, log.keys)
        self.name = f"home-{next(_numbers)}"
        self.now = time.time_ns() // 1_000_000
        self.oracle = Oracle()
        self.of: dict[str, str | None] = dict.fromkeys(MEMBERS, "red")

    def customer(self, member: str) -> Customer:
        """A member as the decision path sees them."""
        household = self.of[member]
        known = world.customer(f"{self.name}-{member}")
        return replace(known, household_id=None if household is None else f"{self.name}-{household}")

    async def decide(self, member: str, channel: str, offers: list[str], is_killed: bool) -> None:
        view, who = self.catalogue.view(channel), self.customer(member)
        decision_id = f"{self.name}/{len(self.oracle.made)}/{self.now}/{next(_numbers)}"
        limited = any(view.contact.limited_together(world.row_of(view, offer)) for offer in offers)
        fields = {"household": who.household_id if limited else None}
        household = self.of[member] if limited else None
        by_household, by_own = self.oracle.refused(member, household, offers, channel, self.now)
        # As an eligibility of its own, in Python: nothing is allowed that is refused, and the other way for one offer.
        mask = view.contact.allowed(
            who, await self.history(who.customer_id), self.now, await self.together(who.household_id)
        )
        first = offers[0]
        assert mask[world.row_of(view, first)] == (first not in by_household and first not in by_own)
        reserves = bool(household) and not by_household
        if is_killed and reserves:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(store_contacts, "HOLD_MS", -60_000)
                patched.setattr(self.log, "_write", _killed)
                with pytest.raises(asyncio.CancelledError):
                    await world.decide(self.log, view, who, decision_id, offers, self.now, **fields)
            self.note(decision_id, member, household, offers, channel, own=False)
            return
        reply = await world.decide(self.log, view, who, decision_id, offers, self.now, **fields)
        assert reply.reached == tuple(by_household or by_own)
        assert reply.written == (not by_household and not by_own)
        if reply.written:
            self.note(decision_id, member, household, offers, channel)
        elif reserves:  # an id of the caller's own: it is given back in the background
            self.note(decision_id, member, household, offers, channel, own=False)

    def note(
        self,
        decision: str,
        member: str,
        household: str | None,
        offers: list[str],
        channel: str,
        *,
        own: bool = True,
    ) -> None:
        self.oracle.made += [
            Made(decision, member, household, offer, channel, self.now, own, household is not None)
            for offer in offers
            if offer != "bill"
        ]

    async def settle(self) -> None:
        """What nobody wrote leaves the household, and what was given back."""
        real_ms = time.time_ns() // 1_000_000
        # What was refused may be written for so long as its reservation says.
        for made in self.oracle.made:
            if made.released and not made.answered:
                made.together = False
        await self.reservations.settle_due(max(self.now, real_ms) + 60_000, 1000)
        held = await self.held()
        for made in self.oracle.made:
            if not made.own and not made.released and (made.decision, made.offer) not in held:
                made.together = False

    async def release(self) -> None:
        due = {m.decision: m for m in self.oracle.made if m.own and m.channel == "phone"}
        due = {d: m for d, m in due.items() if self.now >= m.at_ms + CONFIRM_MS}
        found = [(self.log.keys.bucket(f"{self.name}-{m.member}"), d) for d, m in due.items()]
        if not found:
            return
        await self.reader.release(found, self.now)
        for made in self.oracle.made:
            if made.decision in due and not made.released and not made.answered:
                made.released, made.own = True, False

    async def confirm(self, which: int) -> None:
        told = [m for m in self.oracle.made if m.own or m.released]
        if not told:
            return
        made = told[which % len(told)]
        bucket = self.log.keys.bucket(f"{self.name}-{made.member}")
        status, _ = await world.tell(
            self.log, bucket, made.decision, made.offer, "presented", None, self.now, self.now, SKEW_MS
        )
        assert status == ("duplicate" if made.answered else "recorded")
        if made.released and not made.answered:
            made.own = True
            if made.household is not None and not made.together:
                made.at_ms, made.together = self.now, True
        made.answered = True

    async def withdraw(self, which: int) -> None:
        told = [m for m in self.oracle.made if m.own and not m.answered]
        if not told:
            return
        one = told[which % len(told)]
        siblings = [m for m in self.oracle.made if m.decision == one.decision]
        if any(m.answered or m.released for m in siblings):
            return
        household = None if one.household is None else f"{self.name}-{one.household}"
        await self.log.withdraw(
            f"{self.name}-{one.member}", one.decision, one.at_ms, self.now, household_id=household
        )
        for made in siblings:
            made.own = False

    async def history(self, customer_id: str) -> list[Contact]:
        return (await self.log.read(customer_id, True)).history

    async def together(self, household_id: str | None) -> list[Contact]:
        return [] if household_id is None else await self.log.read_household(household_id, "", self.now)

    async def held(self) -> set[tuple[str, str]]:
        """The decisions and offers in the households' histories."""
        found = set()
        numbers = {offer.number: offer_id for offer_id, offer in OFFERS.items()}
        for household in HOUSEHOLDS[:2]:
            key = self.log.keys.household(f"{self.name}-{household}")
            for name in await self.log.pipe.call("ZRANGE", key, 0, -1):
                number, *_, decision = name.decode().split(":", 5)
                found.add((decision, numbers[int(number)]))
        return found

    async def check(self) -> None:
        """Every contact that stands is in its household: none that was decided is ever missing."""
        recent = self.now - self.catalogue.history_ms
        held = await self.held()
        for made in self.oracle.made:
            if made.together and made.at_ms > recent:
                assert (made.decision, made.offer) in held


async def _killed(*arguments: Any) -> Any:
    raise asyncio.CancelledError


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(OPERATIONS, min_size=3, max_size=16))
def test_members_of_a_household_never_exceed_its_limits(redis_url: str, story: list[Any]) -> None:
    async def run() -> None:
        redis = make_redis(redis_url)
        try:
            async with world.redis_log(redis_url) as log:
                told = Story(log, redis)
                for name, *arguments in story:
                    if name == "move":
                        told.of[arguments[0]] = arguments[1]
                    elif name == "wait":
                        told.now += arguments[0]
                    else:
                        await getattr(told, name)(*arguments)
                    await told.check()
        finally:
            await redis.aclose()

    asyncio.run(run())
