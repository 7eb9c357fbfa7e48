"""Capacity that is kept for value, over real servers: who is withheld, what is logged of it, and what it earned."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.leasing import period_at
from decisioning.capacity.pricing import what_was_earned
from decisioning.capacity.store_pools import Pools
from decisioning.capacity.store_pricing import CapacityPrices, Pricing
from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.context import DecisionInputs
from decisioning.evaluation.replay_service import explain_logged, replay
from decisioning.log.store_archive import ArchiveReader
from decisioning.model.entities import Capacity
from decisioning.policies.roster import Roster
from profiles.customer import Customer, Profile
from storage.postgres import make_engine
from storage.redis import make_redis
from tests.support.capacity_world import (
    LIMITED,
    OneCatalogue,
    Process,
    Shop,
    Strangers,
    cap,
    catalogue,
    has,
    start_process,
    stop_process,
    worker,
)
from tests.support.waiting import eventually

LEASE_MS = 600


class Known(Strangers):
    """Customers are named by the percent to which they are likely to accept the limited offer."""

    async def load(self, customer_id: str, *, fill: bool) -> Profile:
        """A customer with one propensity."""
        share = float(customer_id.split()[0]) / 100
        numbers, shares = np.array([1], dtype=np.uint32), np.array([share], dtype=np.float32)
        return Profile(Customer.unknown(customer_id), numbers, shares)


class World:
    """A process, with an offer worth 2 of which the last units are kept for value."""

    def __init__(self, shop: Shop, engine: AsyncEngine, pools: Pools, process: Process) -> None:
        self.shop, self.engine, self.pools, self.process = shop, engine, pools, process

    @property
    def capacity(self) -> Capacity:
        """The only one."""
        return self.shop.catalogue.capacities["calls"]

    async def ask(self, customer: str) -> dict[str, Any]:
        """Decide with an explanation."""
        return await self.process.decisions.decide(DecisionInputs(customer, "desk", {}, explain=True))

    async def set_price(self, price: float) -> None:
        """Set the price of now, in place of the worker's first, and wait until the process knows it."""
        period = period_at(self.capacity, self.shop.clock_ms())
        view = self.shop.catalogue.view("desk")

        async def known() -> bool:
            await self.pools.set_price("calls", period, price)
            await self.process.units.units(view, 1, self.shop.clock_ms())  # as every decision does
            prices = self.process.units.prices(view, self.shop.clock_ms())
            points = await CapacityPrices(self.engine).points("calls", period.starts_ms, period.ends_ms)
            return bool(points) and [one.price for one in prices] == [price]

        await eventually(known, "the process to know the price")


def shop_with(capacity: Capacity) -> Catalogue:
    """The catalogue of the world, without anything mandatory."""
    made = catalogue(capacity, version=1)
    offers = {name: replace(offer, mandatory=False) for name, offer in made.offers.items()}
    return Catalogue(
        version=1,
        groups=made.groups,
        offers=offers,
        placements={"desk": replace(made.placements["desk"], slots=3)},
        capacities=made.capacities,
    )


@pytest.fixture
async def world(postgres_url: str, redis_url: str) -> AsyncIterator[World]:
    """A world with 1000 units a day."""
    redis = make_redis(redis_url)
    await redis.flushall()
    engine = make_engine(postgres_url)
    async with engine.begin() as connection:
        for table in ("capacity_pools", "capacity_prices", "archived", "decisions", "outcomes"):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    shop = Shop(shop_with(cap(1000, per="day", keep_for_value=True)))
    async with worker(shop, engine, postgres_url, redis_url, LEASE_MS) as pools:
        process = await start_process(shop, engine, redis_url, LEASE_MS)
        process.decisions._profiles = Known()
        yield World(shop, engine, pools, process)
        await stop_process(process)
    await redis.aclose()
    await engine.dispose()


async def test_who_is_worth_less_than_the_price_is_withheld_explained_and_replayed(world: World) -> None:
    await world.set_price(1.0)
    kept, given = await world.ask("40 a"), await world.ask("60 b")
    assert [has(answer, LIMITED) for answer in (kept, given)] == [False, True]
    archive, catalogues = ArchiveReader(world.engine), OneCatalogue(world.engine, world.shop)

    async def archived() -> bool:
        return await archive.decision(kept["decision_id"]) is not None

    await eventually(archived, "the decision to be archived")
    logged = (await explain_logged(kept["decision_id"], archive, catalogues, Roster()))["candidates"]
    for explanation in (kept["explanation"], logged):
        [limited] = [one for one in explanation if one["offer_id"] == LIMITED]
        [stop] = limited["stops"]
        assert (stop["stage"], stop["name"]) == ("capacity", "calls")
        assert stop["observed"] == pytest.approx(0.8)
        assert stop["required"] == "worth at least 1, the price of a unit"
    replayed = await replay(kept["decision_id"], archive, catalogues, Roster())
    assert replayed.logged == replayed.replayed


async def test_the_price_follows_from_what_was_asked_for_and_what_it_earned_is_told(world: World) -> None:
    await world.set_price(1.0)
    for share in range(0, 100, 5):
        await world.ask(f"{share} {share}")
    prices, capacity = CapacityPrices(world.engine), world.capacity
    period = period_at(capacity, world.shop.clock_ms())

    async def demand() -> list[Any] | None:
        found = await prices.demand(capacity, period.starts_ms, period.ends_ms)
        return found if sum(not one.given for one in found) == 10 else None

    found = await eventually(demand, "all that was asked for to be archived")
    assert {round(one.worth, 6) for one in found if not one.given} == {
        share / 50 for share in range(0, 50, 5)
    }
    earned = what_was_earned(found, 12)
    assert earned.given == len(found) - 10
    books = await world.pools.books("calls", period)
    assert books is not None
    few = replace(capacity, max=max(books.used + books.leased, 0) + 1)
    await Pricing(world.pools, prices).price(few, period, books, world.shop.clock_ms())
    points = await prices.points("calls", period.starts_ms, period.ends_ms)
    assert points[-1].left == 1
    assert points[-1].price > 0
