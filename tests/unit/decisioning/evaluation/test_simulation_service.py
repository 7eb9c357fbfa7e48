"""Previews and simulations: what is read of the customers, and what is refused before anything is."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import pytest

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kind import Entry
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import Invalid, InvalidRule
from decisioning.evaluation.simulation_service import HISTORY_BATCH_SIZE, SimulationService
from decisioning.learning.replica import ArmReplica
from decisioning.log.ports import DecisionLog, ReadReply
from decisioning.model.decision import Contact
from decisioning.model.entities import ContactLimit
from decisioning.policies.roster import Roster
from profiles.customer import Customer, Profile
from storage.errors import RedisUnavailable
from tests.support.shop import NOW_MS, catalogue_with, offer

CHOICE: dict[str, Any] = {"policy": "propensity", "control_share": 0.0}
FREE = catalogue_with([offer(1, transactional=True)], CHOICE)
LIMITED = catalogue_with([offer(1, contact_limits=(ContactLimit(1, 60),))], CHOICE)


class World:
    """Customers with their contact histories, and the catalogue that changes lead to."""

    def __init__(self, customers: int, changed: Catalogue = FREE, error: Exception | None = None) -> None:
        self.customers = customers
        self.changed_to = changed
        self.error = error
        self.read_of: list[str] = []
        self.numbers: Mapping[str, int] | None = {"o1": 1}

    async def sample(self, numbers: Mapping[str, int] | None, size: int) -> tuple[list[Profile], int]:
        assert numbers == self.numbers
        known = np.array([1], np.uint32), np.array([0.5], np.float32)
        made = [Customer(f"c{n}", {"age": n}, {}, (), {}, {}) for n in range(min(size, self.customers))]
        return [Profile(customer, *known) for customer in made], self.customers

    async def changed(self, version: int, changes: Iterable[Entry], *, checked: bool) -> Catalogue:
        assert checked
        assert (version, list(changes)) == (1, [])
        return self.changed_to

    async def read(
        self,
        customer_id: str,
        with_history: bool,
        own_id: str | None = None,
        window_ms: int = 0,
        with_events: bool = False,
    ) -> ReadReply:
        assert (with_history, own_id) == (True, None)
        self.read_of.append(customer_id)
        if self.error is not None and customer_id == "c1":
            raise self.error
        return ReadReply(None, [Contact(1, NOW_MS - 1, "cards", "grow", "d", "web")])


def service(world: World) -> SimulationService:
    """The service on this world."""
    roster = Roster()
    stores = cast(CatalogueStore, world), cast(DecisionLog, world)
    return SimulationService(world.sample, *stores, roster, ArmReplica(roster), lambda: NOW_MS)


async def simulated(world: World, live: Catalogue) -> dict[str, Any]:
    """Simulate on all customers of a world."""
    return await service(world).simulate_changes(live, "home", (), {}, 10_000)


async def test_a_preview_counts_the_sample_and_estimates_the_rest() -> None:
    world = World(1000)
    world.numbers = None  # rules do not look at propensities
    found = await service(world).preview_rule(FREE, "customer.age >= 5", {}, 10)
    assert (found["sample"], found["matching"], found["customers"]) == (10, 5, 1000)
    assert found["estimate"]["low"] < found["estimate"]["matching"] == 500 < found["estimate"]["high"]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("customer.agee > 1", InvalidRule, "customer.age"),
        ("customer.age > 1 && offer.group == 'cards'", Invalid, "refers to the offer"),
        ("customer.age", InvalidRule, "must be true or false"),
    ],
)
async def test_a_rule_that_cannot_be_previewed_is_refused(
    source: str, error: type[Invalid], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        await service(World(0)).preview_rule(FREE, source, {}, 10)
    assert caught.value.field == "expression"


@pytest.mark.parametrize(
    ("live", "changed", "read"), [(FREE, FREE, 0), (FREE, LIMITED, 3), (LIMITED, FREE, 3)]
)
async def test_histories_are_read_where_either_catalogue_looks_at_them(
    live: Catalogue, changed: Catalogue, read: int
) -> None:
    world = World(3, changed)
    found = await simulated(world, live)
    assert len(world.read_of) == read
    for name, catalogue in (("live", live), ("changed", changed)):
        assert found[name]["without_offer"] == (3 if catalogue is LIMITED else 0)


async def test_every_customer_is_read_once_however_many_there_are() -> None:
    world = World(HISTORY_BATCH_SIZE + 1, LIMITED)
    await simulated(world, LIMITED)
    assert world.read_of == [f"c{n}" for n in range(HISTORY_BATCH_SIZE + 1)]


async def test_without_redis_a_customer_has_no_history_and_a_defect_is_not_hidden() -> None:
    found = await simulated(World(3, LIMITED, RedisUnavailable("gone")), LIMITED)
    assert found["live"]["without_offer"] == 2
    with pytest.raises(ZeroDivisionError):
        await simulated(World(3, LIMITED, ZeroDivisionError()), LIMITED)
