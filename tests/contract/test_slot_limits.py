"""Limits that the slots of one answer share: each is drawn within what the earlier ones leave, exactly as logged."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import numpy as np
import pytest

from decisioning.capacity import store_leases
from decisioning.capacity.store_leases import LeaseHolder
from decisioning.capacity.store_pools import CapacityLog, Pools
from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.ranking import select
from decisioning.decide.service import DecisionInputs, DecisionService
from decisioning.evaluation.replay_service import logged_context
from decisioning.learning.replica import ArmReplica
from decisioning.log.codec import decode_decision
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_redis import RedisLog
from decisioning.model.decision import Decision, LoggedDecision
from decisioning.model.entities import Capacity, ContactPolicy
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from profiles.customer import Customer, Profile
from storage.functions import load_functions
from storage.keys import Keys
from storage.postgres import make_engine
from storage.redis import make_redis
from storage.redis_pipe import Pipe
from tests.support.bandits_selection import chi_squared_score
from tests.support.databases import mark_whole
from tests.support.shop import NOW_MS, catalogue_with, offer

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = Keys(4)
DECISIONS = 600
DAY_S = 86_400
_numbers = count()
OFFERS = [offer(n, group="cards" if n < 4 else "loans", value=1.0 + n / 10) for n in range(1, 7)]
ALL = tuple(o.offer_id for o in OFFERS)
CARDS = tuple(o.offer_id for o in OFFERS[:3])


def policy(**fields: Any) -> ContactPolicy:
    """A contact policy of one a day."""
    parts: dict[str, Any] = {"policy_id": "p", "name": "p", "max": 1, "window_s": DAY_S}
    return ContactPolicy(**(parts | fields))


LIMITS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "one a day over all": ({"contact_policies": {"p": policy(scope="all")}}, {}),
    "two a day over all": ({"contact_policies": {"p": policy(scope="all", max=2)}}, {}),
    "one a day of a group": ({"contact_policies": {"p": policy(scope="group")}}, {}),
    "one a day of a goal": ({"contact_policies": {"p": policy(scope="goal", applies_to="grow")}}, {}),
    "a gap that the customer prefers": ({}, {"min_gap_s": 60}),
    "two a day that the customer prefers": ({}, {"max_contacts_per_day": 2}),
}
"""Parts of a catalogue, and attributes of the customer."""


class Asked:
    """A service on real stores whose customers have certain attributes; keeps the decisions that were written."""

    def __init__(self, service: DecisionService, log: RedisLog) -> None:
        self.service, self.log = service, log

    async def decide(self, number: int, **request: Any) -> Decision:
        """The decision for a new customer, as it was logged."""
        name = f"customer-{number}"
        answer = await self.service.decide(DecisionInputs(name, "home", {}, deadline_ms=10_000, **request))
        assert answer["degraded"] == []
        waiting = await self.log.waiting(KEYS.bucket(name), answer["decision_id"])
        return decode_decision(waiting["h"])


class Profiles:
    """Customers with the same attributes."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._attributes = attributes

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """Make one."""
        empty = Profile.unknown(customer_id)
        person = Customer(customer_id, dict(self._attributes), {}, (), {}, {})
        return Profile(person, empty.offer_nos, empty.propensities)


@asynccontextmanager
async def asked(
    urls: tuple[str, str], catalogue: Catalogue, attributes: Mapping[str, Any]
) -> AsyncIterator[Asked]:
    """A service with a catalogue, on an empty Redis."""
    postgres_url, redis_url = urls
    redis = make_redis(redis_url)
    await redis.flushdb()
    await load_functions(redis)
    await mark_whole(redis, KEYS)
    engine, pipe = make_engine(postgres_url), Pipe(redis_url, stall_ms=10_000)
    await pipe.start()
    roster, log = Roster(), RedisLog(pipe, KEYS)
    replica = ArmReplica(roster)
    replica.load("calibrated@1", 0, ())
    units = LeaseHolder(Pools(pipe, KEYS), CapacityLog(engine), lambda: catalogue, lambda: NOW_MS)
    units.start()
    service = DecisionService(
        catalogue=lambda: catalogue,
        replica=replica,
        roster=roster,
        decision_log=log,
        archive=ArchiveReader(engine),
        profiles=Profiles(attributes),
        keys=KEYS,
        clock_ms=lambda: NOW_MS,
        entropy=lambda: next(_numbers).to_bytes(16, "big"),
        capacity=units,
        policy_budget_ms=10_000.0,
    )
    try:
        yield Asked(service, log)
    finally:
        await service.close()
        await units.close()
        await pipe.stop()
        await redis.aclose()
        await engine.dispose()


@pytest.fixture(scope="module")
def urls(postgres_url: str, redis_url: str) -> tuple[str, str]:
    """The addresses of the stores."""
    return postgres_url, redis_url


def assert_as_often_as_logged(decisions: list[Decision], slots: int) -> int:
    """Compare how often each offer was drawn for a slot, given the earlier ones, with what was logged."""
    tested = 0
    for slot in range(slots):
        drawn: dict[tuple[str, ...], Counter[str]] = {}
        chance: dict[tuple[str, ...], dict[str, float]] = {}
        for decision in decisions:
            before = tuple(o.offer_id for o in decision.offers[:slot])
            if len(decision.offers) > slot:
                chosen = decision.offers[slot]
                drawn.setdefault(before, Counter())[chosen.offer_id] += 1
                known = chance.setdefault(before, {}).setdefault(chosen.offer_id, chosen.probability or 0.0)
                assert known == chosen.probability
        for before, counts in drawn.items():
            if (times := counts.total()) < 60:
                continue
            observed = [float(n) for n in counts.values()]
            expected = [times * chance[before][name] for name in counts]
            if (rest := times - sum(expected)) > 1e-6:
                observed, expected = [*observed, 0.0], [*expected, rest]
            if len([e for e in expected if e >= 5]) > 1:
                assert abs(chi_squared_score(observed, expected)) < 4, before
                tested += 1
    return tested


@pytest.mark.parametrize("slots", [2, 3])
@pytest.mark.parametrize("name", LIMITS)
async def test_every_slot_is_drawn_within_the_limits_and_as_often_as_was_logged(
    urls: tuple[str, str], name: str, slots: int
) -> None:
    parts, attributes = LIMITS[name]
    catalogue = catalogue_with(OFFERS, {"slots": slots, "control_share": 0.0}, **parts)
    async with asked(urls, catalogue, attributes) as world:
        decisions = [await world.decide(n) for n in range(DECISIONS)]
    assert all(d.redraws == 0 for d in decisions)
    assert assert_as_often_as_logged(decisions, slots) > 0
    counts = {len(d.offers) for d in decisions}
    assert counts == {1} if name.startswith(("one a day over all", "a gap")) else counts <= {2, 3}


@pytest.mark.parametrize("slots", [2, 3])
async def test_the_last_unit_of_a_shared_capacity_is_drawn_as_often_as_was_logged(
    urls: tuple[str, str], slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new pool of one unit for each decision: the answer must not need two."""
    monkeypatch.setattr(
        store_leases, "MAX_REFILL_WAIT_S", 10.0
    )  # a busy machine opens a pool in its own time
    decisions = []
    for n in range(120):
        pool = f"{slots}-{n}"
        capacities = {pool: Capacity(pool, "calls", 1, per="total", group="cards")}
        placement = {"slots": slots, "control_share": 0.0}
        async with asked(urls, catalogue_with(OFFERS, placement, capacities=capacities), {}) as world:
            decisions.append(await world.decide(n))
    assert all(d.redraws == 0 and len(d.offers) == slots for d in decisions)
    assert all(sum(o.offer_id in CARDS for o in d.offers) <= 1 for d in decisions)
    assert {d.units for d in decisions} == {((1, (1, 2, 3)),)}
    assert assert_as_often_as_logged(decisions, slots) > 0


async def test_four_hundred_offers_under_one_shared_limit_are_answered_in_time(urls: tuple[str, str]) -> None:
    many = [offer(n) for n in range(1, 401)]
    parts = {"contact_policies": {"p": policy(scope="all")}}
    catalogue = catalogue_with(many, {"slots": 3, "control_share": 0.0}, **parts)
    async with asked(urls, catalogue, {}) as world:
        found = [await world.decide(n) for n in range(20)]
    assert all(len(d.offers) == 1 and d.redraws == 0 for d in found)


async def test_what_is_logged_of_limits_draws_the_same_slots_again(urls: tuple[str, str]) -> None:
    catalogue = catalogue_with(
        OFFERS, {"slots": 3, "control_share": 0.0}, contact_policies={"p": policy(scope="group")}
    )
    async with asked(urls, catalogue, {"max_contacts_per_day": 2}) as world:
        decision = await world.decide(1)

    logged = LoggedDecision(
        0, StreamPosition("1-0"), decision, catalogue.view("home").numbers, np.full(6, np.nan, np.float32)
    )
    context = logged_context(catalogue.view("home"), logged)
    assert context.limits is not None
    roster = Roster()
    replica = ArmReplica(roster)
    replica.load("calibrated@1", 0, ())
    prepared = replica.prepared("calibrated@1", context.view, NOW_MS)
    again = select(context, roster["calibrated@1"], prepared)
    told = [(o.offer_id, o.probability) for o in decision.offers]
    assert [(c.offer.offer_id, c.probability) for c in again.choices] == told
