"""The report by group: each group against the champion, with intervals worked out here."""

import math
from collections import Counter
from typing import Any

import pytest
import pytest_asyncio

from decisioning.log.store_sql import REBUILD_ACCEPTANCE
from tests.support.api import CSV, Nextbest, decide, tell
from tests.support.canaries import deploy, place

pytestmark = pytest.mark.asyncio(loop_scope="module")

Z = 1.959963984540054
KINDS = ("random", "propensity", "no_levers", "eligibility_only")
CONTROLS = [{"kind": kind, "share": 0.1} for kind in KINDS]
GROUPS = ("champion", "canary", "control", *KINDS)
EVERY = {name: number + 2 for number, name in enumerate(GROUPS)}
"""In each group one of so many accepts."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(shop: Nextbest) -> tuple[Nextbest, Counter[str], Counter[str]]:
    """An installation with decisions of all groups in a placement: how many were observed, and accepted."""
    await place(shop.api, "hall", control_share=0.1)
    await deploy(
        shop,
        "hall",
        {"policy": "random@1", "share": 0.2, "since_ms": 1},
        champion="thompson@1",
        controls=CONTROLS,
    )
    answers = [await decide(shop.api, f"hall-{number}", "hall") for number in range(120)]
    await shop.worker.archive()
    observed: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for answer in answers:
        decided = await shop.api.state.archive.decision(answer["decision_id"])
        assert decided is not None
        group = decided.decision.group
        observed[group] += 1
        liked = observed[group] % EVERY[group] == 0
        accepted[group] += liked
        offer_id = answer["offers"][0]["offer_id"]
        await tell(shop.api, answer["decision_id"], offer_id, "accepted" if liked else "rejected")
    await shop.worker.expire(ahead_s=8 * 86_400)  # rates are of closed windows
    await shop.worker.drain()
    assert observed.keys() == set(GROUPS)
    return shop, observed, accepted


async def rows(nextbest: Nextbest, query: str) -> list[dict[str, Any]]:
    """The rows of a report."""
    answer = await nextbest.api.ok("GET", f"/v1/reports/acceptance?{query}", role="ops")
    found: list[dict[str, Any]] = answer["rows"]
    return found


def score(s: int, n: int) -> tuple[float, float]:
    """Wilson's interval: where the normal approximation at a rate just holds the observed one."""
    low, high = 0.0, s / n
    for _ in range(80):
        middle = (low + high) / 2
        if s / n - middle > Z * math.sqrt(middle * (1 - middle) / n):
            low = middle
        else:
            high = middle
    below = low
    low, high = s / n, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        if middle - s / n > Z * math.sqrt(middle * (1 - middle) / n):
            high = middle
        else:
            low = middle
    return below, low


async def test_each_group_against_the_champion(told: tuple[Nextbest, Counter[str], Counter[str]]) -> None:
    nextbest, observed, accepted = told
    found = {row["group"]: row for row in await rows(nextbest, "by=group&placement=hall")}
    assert found.keys() == set(GROUPS)
    base = accepted["champion"] / observed["champion"]
    base_low, base_high = score(accepted["champion"], observed["champion"])
    for group, row in found.items():
        n, s = observed[group], accepted[group]
        assert (row["decided"], row["observed"], row["accepted"]) == (n, n, s)
        low, high = score(s, n)
        rate = s / n
        assert row["difference"] == pytest.approx(rate - base)
        assert row["lift"] == pytest.approx(rate / base - 1)
        below = rate - base - math.sqrt((rate - low) ** 2 + (base_high - base) ** 2)
        above = rate - base + math.sqrt((high - rate) ** 2 + (base - base_low) ** 2)
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((below, above), abs=1e-6)
    assert found["champion"]["difference"] == 0


async def test_groups_are_compared_within_what_else_is_grouped_by(
    told: tuple[Nextbest, Counter[str], Counter[str]],
) -> None:
    nextbest, observed, _ = told
    found = await rows(nextbest, "by=group&by=offer&by=policy&placement=hall")
    by_offer = {row["offer_id"]: row for row in found if row["group"] == "champion"}
    assert sum(row["decided"] for row in found) == 120
    assert {row["policy"] for row in found if row["group"] == "canary"} == {"random"}
    for row in found:
        champion = by_offer.get(row["offer_id"])
        if champion is None:
            assert (row["lift"], row["difference"]) == (None, None)
            assert (row["difference_low"], row["difference_high"]) == (-1, 1)
        else:
            assert row["difference"] == pytest.approx(row["rate"] - champion["rate"])
    plain = await rows(nextbest, "by=placement&placement=hall")
    assert [row["decided"] for row in plain] == [sum(observed.values())]
    assert not {"group", "lift", "difference"} & plain[0].keys()


async def test_rebuilt_it_is_the_same_and_old_records_have_their_group(
    told: tuple[Nextbest, Counter[str], Counter[str]],
) -> None:
    nextbest, observed, _ = told
    history = "customer_id,offer_id,decided_at,outcome\nr1,gold,2020-01-01T10:30:00Z,accepted\n"
    await nextbest.api.ok("POST", "/v1/imports/history", content=history, headers=CSV)
    await nextbest.worker.drain()
    before = await rows(nextbest, "by=group&by=offer&by=hour")
    assert {row["group"] for row in before if row["hour"] < "2021"} == {"imported"}
    async with nextbest.api.state.engine.begin() as connection:
        for statement in REBUILD_ACCEPTANCE:
            await connection.exec_driver_sql(statement)
    assert await rows(nextbest, "by=group&by=offer&by=hour") == before
    async with nextbest.api.state.engine.begin() as connection:  # as if archived before there were groups
        await connection.exec_driver_sql("UPDATE decisions SET grp = NULL, header = header - 'group'")
        for statement in REBUILD_ACCEPTANCE:
            await connection.exec_driver_sql(statement)
    found = {row["group"]: row["decided"] for row in await rows(nextbest, "by=group&placement=hall")}
    controls = sum(observed[group] for group in ("control", *KINDS))
    assert found == {"champion": observed["champion"] + observed["canary"], "control": controls}
    await nextbest.api.ok("GET", "/v1/reports/acceptance?by=group&by=segment")
