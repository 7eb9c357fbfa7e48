"""Invariant 1: one log, and everything else is a fold of it that can be thrown away."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from bandits.policy import Observation
from bandits.state import ArmTable, fold_observations
from decisioning.learning.store_arms import GENERATION
from decisioning.policies.roster import Roster
from tests.support.installation import Api, Installation, place, publish
from tests.support.truth import (
    POLICY,
    Stores,
    check_arms,
    check_roll_ups,
    execute,
    look,
    wait_caught_up,
)
from tests.support.waiting import wait_until

OFFERS = ("alpha", "beta", "gamma", "delta")
CUSTOMERS = [f"customer-{number}" for number in range(24)]


@dataclass
class World:
    """A running installation, and what its client knows to have told it."""

    installation: Installation
    api: Api
    numbers: dict[str, int]
    told: list[tuple[Observation, float]] = field(default_factory=list)


@pytest.fixture(scope="module")
def world(installation: Installation) -> World:
    api = installation.serve()
    installation.work()
    api.wait()
    publish(api, OFFERS[:3], value=2.0)
    publish(api, OFFERS[3:], limits=[{"max": 3, "window_s": 86_400}], value=2.0)
    place(api, slots=2)
    place(api, "short", reward_window_s=1)
    place(api, "call", channel="agent", presentation="explicit", reward_window_s=1)
    numbers = {offer["offer_id"]: offer["number"] for offer in api.ok("GET", "/v1/offers")}
    csv = "customer_id,offer_id,propensity\n" + "".join(
        f"{customer},{offer},{0.01 * (1 + index % 37)}\n"
        for index, (customer, offer) in enumerate((c, o) for c in CUSTOMERS for o in OFFERS[:2])
    )
    response = api.http.post(
        "/v1/imports/propensities", content=csv, headers={"Content-Type": "text/csv", **api.headers}
    )
    assert response.json()["loaded"] == len(CUSTOMERS) * 2
    return World(installation, api, numbers)


def base_propensity(customer_id: str, offer_id: str) -> float:
    """The precomputed propensity that was imported, as the log has it: the digits of a float32."""
    if offer_id not in OFFERS[:2]:
        return float("nan")
    number = CUSTOMERS.index(customer_id) * 2 + OFFERS.index(offer_id)
    return float(f"{np.float32(0.01 * (1 + number % 37)):.9g}")


def tell(world: World, customer_id: str, decision: Any, rng: random.Random) -> None:
    """Send outcomes for one decision, and note what they should teach."""
    for offer in decision["offers"]:
        at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=rng.randrange(280))
        outcome = rng.choice(("accepted", "rejected", "presented", "clicked"))
        more = {"occurred_at": at.isoformat()} | (
            {"value": rng.randrange(40) / 4} if rng.random() < 0.5 else {}
        )
        assert world.api.feedback(decision["decision_id"], offer["offer_id"], outcome, **more) == "recorded"
        expect_lesson(world, customer_id, decision, offer["offer_id"], float(outcome == "accepted"))


def expect_lesson(world: World, customer_id: str, decision: Any, offer_id: str, reward: float) -> None:
    """Note what an offer should teach: from when it was shown silence, in whose place an acceptance comes."""
    decided_ms = world.api.ok("GET", f"/v1/decisions/{decision['decision_id']}")["decided_at_ms"]
    observation = Observation(world.numbers[offer_id], reward, base_propensity(customer_id, offer_id))
    world.told.append((observation, decided_ms / 1000))


def expected_arms(told: list[tuple[Observation, float]]) -> dict[str, bytes]:
    """The arms by the client's knowledge alone."""
    policy = Roster()[POLICY]
    table = ArmTable(policy.width)
    for name, delta in fold_observations(policy, told).items():
        table.add(name, delta)
    return dict(table.fields())


async def released(found: Stores) -> int:
    """Count the decisions of which all reservations are given back."""
    rows = await found.rows("SELECT DISTINCT decision_id FROM outcomes WHERE outcome = 'released'")
    return len(rows)


def test_invariant_1_arms_are_a_fold_of_the_log(world: World) -> None:
    rng = random.Random(1)
    for _ in range(60):
        customer_id = rng.choice(CUSTOMERS)
        tell(world, customer_id, world.api.decide(customer_id), rng)
    silent = [(c, world.api.decide(c, "short")) for c in CUSTOMERS[:10]]
    unheard = [world.api.decide(c, "call") for c in CUSTOMERS[:10]]
    for customer_id, decision in silent:  # an implicit presentation that stays without answer is a rejection
        for offer in decision["offers"]:
            expect_lesson(world, customer_id, decision, offer["offer_id"], 0.0)
    expected = expected_arms(world.told)

    def learned() -> bool:
        arms = look(world.installation, lambda s: s.arms.load(POLICY))
        return arms is not None and arms.fields == expected

    wait_until(learned, "the arms that the client expects")
    wait_caught_up(world.installation)
    # An explicit one teaches nothing; when its window closes, what it reserved is given back.
    wait_until(lambda: look(world.installation, released) == len(unheard), "reservations to be given back")
    before = look(world.installation, check_arms)

    async def throw_away(found: Stores) -> None:
        await found.redis.delete(found.keys.arms(POLICY), found.keys.changes(POLICY))

    look(world.installation, throw_away)
    wait_until(learned, "the arms that the client expects")
    after = look(world.installation, check_arms)
    assert after.epoch // GENERATION > before.epoch // GENERATION


def test_invariant_1_contact_history_is_a_fold_of_the_log(world: World) -> None:
    for _ in range(12):
        for customer_id in CUSTOMERS[:4]:
            world.api.decide(customer_id)
    wait_caught_up(world.installation)

    async def contacts(found: Stores) -> dict[str, Any]:
        return {
            customer_id: await found.redis.zrange(found.keys.contact(customer_id), 0, -1, withscores=True)
            for customer_id in CUSTOMERS
        }

    async def throw_away(found: Stores) -> None:
        await found.redis.delete(*map(found.keys.contact, CUSTOMERS))

    before = look(world.installation, contacts)
    assert any(before.values())
    look(world.installation, throw_away)
    assert not any(look(world.installation, contacts).values())
    world.installation.command("rebuild")
    assert look(world.installation, contacts) == before


def test_invariant_1_roll_ups_are_a_fold_of_the_log(world: World) -> None:
    rng = random.Random(3)
    for customer_id in CUSTOMERS:
        tell(world, customer_id, world.api.decide(customer_id), rng)
    late = world.api.decide("late", "short")
    time.sleep(1.1)
    assert (
        world.api.feedback(late["decision_id"], late["offers"][0]["offer_id"], "accepted", value=4) == "late"
    )
    world.api.ok("PUT", "/v1/event-types/call", {"name": "Call"})
    world.api.ok("POST", "/v1/events", {"event_id": "1", "customer_id": "ann", "type": "call"})
    wait_caught_up(world.installation)

    async def roll_ups(found: Stores) -> list[Sequence[Any]]:
        return [
            await found.rows("SELECT * FROM acceptance ORDER BY 1, 2, 3, 4, 5"),
            await found.rows("SELECT * FROM event_counts"),
        ]

    before = look(world.installation, roll_ups)
    assert sum(row.late for row in before[0]) == 1
    assert sum(row.value for row in before[0]) > 0
    assert [row.events for row in before[1]] == [1]
    look(world.installation, check_roll_ups)
    throw_away = "TRUNCATE acceptance, event_counts"
    look(world.installation, lambda _: execute(world.installation.postgres_url, throw_away))
    world.installation.command("rebuild", "--reports")
    after = look(world.installation, roll_ups)
    assert after == before
    look(world.installation, check_arms)
