"""What the default forgets follows what changes, by itself, and never where somebody chose otherwise."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from bandits.policy import PolicySpec
from bandits.sums import OfferGroups
from decisioning.log.store_archive import ArchiveReader
from decisioning.policies.store_facts import choose_features
from decisioning.rollout.default_service import AUTHOR, RETRY_MS, DefaultKeeper
from decisioning.rollout.forgetting import Forgetting
from decisioning.rollout.forgetting_service import ForgettingTrial
from storage import clock
from storage.errors import PostgresUnavailable
from tests.support.api import CSV, Nextbest, decide

pytestmark = pytest.mark.asyncio(loop_scope="module")
EVERY_MS = 3_600_000
BEGAN = datetime.now(UTC) - timedelta(days=4)
ROW = timedelta(minutes=3)
RATES = {"gold": 0.6, "silver": 0.1}


class Looks:
    """Looks of a worker, one after the other, each later than the one before by more than the time between two."""

    def __init__(self, shop: Nextbest, **fields: Any) -> None:
        state = shop.api.state
        self.ahead_ms = 0
        self.tried: list[PolicySpec] = []
        self._trial = ForgettingTrial(ArchiveReader(state.engine), shop.settings.buckets, 600)
        options = {"min_age_ms": 0, "forgetting_every_ms": EVERY_MS, "min_change_ms": 0} | fields
        self.keeper = DefaultKeeper(
            state.catalogues,
            state.policies,
            partial(choose_features, state.engine),
            lambda: clock.now_ms() + self.ahead_ms,
            find_forgetting=self.find,
            **options,
        )

    async def find(self, spec: PolicySpec, groups: OfferGroups) -> tuple[Forgetting, str] | None:
        self.tried.append(spec)
        return await self._trial.find(spec, groups, clock.now_ms())

    async def look(self) -> None:
        await self.keeper.look()
        self.ahead_ms += EVERY_MS


async def import_history(shop: Nextbest, first: int, rows: int, *, flipped: bool) -> None:
    """Both offers, a row every three minutes; ``flipped``: each is accepted as often as the other was."""
    lines = ["customer_id,offer_id,decided_at,outcome"]
    rates = dict(zip(RATES, reversed(RATES.values()), strict=True)) if flipped else RATES
    for row in range(first, first + rows):
        for offer, rate in rates.items():
            outcome = "accepted" if int((row + 1) * rate) > int(row * rate) else "rejected"
            at = BEGAN + row * ROW
            lines.append(f"{offer}-{row},{offer},{at.isoformat()},{outcome}")
    answer = await shop.api.call("POST", "/v1/imports/history", content="\n".join(lines) + "\n", headers=CSV)
    assert answer.is_success, answer.text
    await shop.worker.drain()


async def versions(shop: Nextbest) -> list[str]:
    return [one["policy"] for one in await shop.api.ok("GET", "/v1/policies/calibrated")]


async def test_without_a_change_the_default_stays_as_it_is(shop: Nextbest) -> None:
    await import_history(shop, 0, 800, flipped=False)
    looks = Looks(shop)
    await looks.look()
    await looks.look()
    assert len(looks.tried) == 2
    assert await versions(shop) == ["calibrated@1"]


async def test_it_is_asked_once_in_a_while_by_one_of_several_workers_and_never_where_switched_off(
    shop: Nextbest,
) -> None:
    looks, off = Looks(shop), Looks(shop, forgetting_every_ms=0)
    await looks.look()
    looks.ahead_ms -= EVERY_MS
    await looks.look()
    await off.look()
    async with shop.api.state.policies.lock_forgetting() as alone:
        assert alone
        other = Looks(shop)
        await other.look()
    assert len(looks.tried) == 1
    assert off.tried == other.tried == []


async def test_it_is_asked_again_soon_if_a_store_was_gone(shop: Nextbest) -> None:
    looks = Looks(shop)

    async def gone(spec: PolicySpec, groups: OfferGroups) -> None:
        raise PostgresUnavailable("it is gone")

    looks.keeper.find_forgetting = gone
    with pytest.raises(PostgresUnavailable):
        await looks.look()
    looks.keeper.find_forgetting = looks.find
    looks.ahead_ms = RETRY_MS
    await looks.look()
    assert len(looks.tried) == 1


async def test_after_a_change_a_version_that_forgets_it_is_warmed_up_and_decides(shop: Nextbest) -> None:
    await import_history(shop, 800, 400, flipped=True)
    looks = Looks(shop)
    await looks.look()
    assert await versions(shop) == ["calibrated@1", "calibrated@2"]
    assert (await decide(shop.api, "before"))["policy"]["version"] == 1, "nothing cold decides"
    await shop.worker.warm()
    await looks.look()
    await shop.api.state.refresh()
    decision = await decide(shop.api, "after")
    assert decision["policy"] == {"name": "calibrated", "version": 2}
    expected = {offer["offer_id"]: offer["factors"]["P"] for offer in decision["offers"]}
    assert expected["silver"] > 0.5
    shown = await shop.api.ok("GET", "/v1/policies/calibrated/2")
    assert shown["author"] == AUTHOR
    assert shown["spec"].get("learn_since_ms") or shown["spec"]["parameters"]["half_life_days"] < 90
    trail = await shop.api.ok("GET", "/v1/catalog?kind=deployment&id=home")
    assert trail[0]["author"] == AUTHOR
    assert "acceptance" in trail[0]["reason"]
    assert "log loss" in trail[0]["reason"]


async def test_it_changes_once_a_day_at_most_and_what_it_forgets_outlives_new_features(
    shop: Nextbest,
) -> None:
    looks = Looks(shop, min_change_ms=86_400_000)
    await looks.look()
    assert looks.tried == []
    await shop.api.ok("PUT", "/v1/attributes/customer.age", json={"type": "number"})
    await looks.look()
    await looks.look()
    before, after = [
        (await shop.api.ok("GET", f"/v1/policies/calibrated/{version}"))["spec"] for version in (2, 3)
    ]
    assert after["features"]
    assert after.get("learn_since_ms") == before.get("learn_since_ms")
    assert after["parameters"].get("half_life_days") == before["parameters"].get("half_life_days")


async def test_where_somebody_chose_otherwise_nothing_is_made_or_changed(shop: Nextbest) -> None:
    await shop.worker.warm()
    await Looks(shop, forgetting_every_ms=0).look()
    for placement in ("home", "desk"):
        body = {"policy": "calibrated@1", "stage": "champion", "force": True}
        await shop.api.ok("POST", f"/v1/placements/{placement}/policies", json=body, role="scientist")
    await import_history(shop, 1200, 600, flipped=False)
    made = await versions(shop)
    looks = Looks(shop)
    await looks.look()
    await looks.look()
    assert looks.tried == []
    assert await versions(shop) == made
    await shop.api.state.refresh()
    assert (await decide(shop.api, "left-alone"))["policy"] == {"name": "calibrated", "version": 1}
