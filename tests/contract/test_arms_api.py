"""The arms of policies: what they learned, what they select, and whether they still explore."""

import math
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from storage import clock
from tests.support.api import Nextbest, problem_of, put_offer
from tests.support.canaries import Crowd, add_bad_policy, deploy, place
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visited(shop: Nextbest) -> Nextbest:
    """An installation where `thompson` decided in two placements, and `random` in one of them as a canary."""
    await place(shop.api, "left", policy="thompson")
    await place(shop.api, "right")
    await deploy(shop, "right", "random@1")
    for placement in ("left", "right"):
        await Crowd(shop, placement, 1, thompson=0.6, random=0.3).come(60)

    async def followed() -> bool:
        arms = (await shop.api.ok("GET", "/v1/policies/thompson/arms"))["arms"]
        return bool(sum(arm["observations"] for arm in arms) > 119)

    await eventually(followed, "the arms to hold all that was told")
    await shop.worker.expire(ahead_s=8 * 86_400)  # what is not learned from is reported of closed windows
    await shop.worker.drain()
    return shop


async def arms(nextbest: Nextbest, policy: str, query: str = "") -> Any:
    """The arms of a policy."""
    return await nextbest.api.ok("GET", f"/v1/policies/{policy}/arms?{query}", role="scientist")


def weight_now(nextbest: Nextbest, key: str) -> float:
    """Return the weight of an observation of now, as it is reported: relative to the beginning of the present tick."""
    decay, now_s = nextbest.api.state.roster[key].decay, clock.now_ms() / 1000
    return float(decay.weight(now_s) * decay.scale(decay.period(now_s), decay.tick(now_s)))


async def decided(nextbest: Nextbest, policy: str, placement: str) -> dict[str, int]:
    """Count, per offer, a policy's decisions for it, as given by the acceptance report."""
    path = f"/v1/reports/acceptance?by=offer&policy={policy}&placement={placement}"
    rows = (await nextbest.api.ok("GET", path))["rows"]
    return {row["offer_id"]: row["decided"] for row in rows}


async def test_a_policy_on_beta_arms(visited: Nextbest) -> None:
    found = await arms(visited, "thompson", "placement=left")
    assert (found["version"], found["algorithm"], found["placement"]) == (1, "thompson", "left")
    assert found["learned"]
    assert {arm["offer_id"] for arm in found["arms"]} == {"gold", "silver", "phone"}
    assert [arm["share"] for arm in found["arms"]] == sorted(
        (a["share"] for a in found["arms"]), reverse=True
    )
    assert all(arm["name"] for arm in found["arms"])
    by_report = await decided(visited, "thompson", "left")
    assert {arm["offer_id"]: arm["selected"] for arm in found["arms"] if arm["selected"]} == by_report
    assert sum(arm["share"] for arm in found["arms"]) == pytest.approx(1)
    for arm in found["arms"]:
        assert arm["posterior_low"] < arm["posterior_mean"] < arm["posterior_high"]
        assert arm["low"] <= arm["high"]
    assert 0 <= found["entropy"] < 1
    assert found["leader"] == "gold"  # worth four times as much as silver
    assert found["warning"] is None or "phone" in found["warning"]
    everywhere = await arms(visited, "thompson")
    assert sum(arm["selected"] for arm in everywhere["arms"]) > sum(by_report.values())
    observations = sum(arm["observations"] for arm in everywhere["arms"])
    # It learns from what others select as well.
    assert observations == pytest.approx(120 * weight_now(visited, "thompson@1"), rel=0.001)


async def test_a_policy_that_learns_nothing(visited: Nextbest) -> None:
    found = await arms(visited, "random", "version=1")
    assert not found["learned"]
    # Of what it happened to draw for some thirty customers: by chance that may be far from even.
    shares = [arm["selected"] / sum(a["selected"] for a in found["arms"]) for arm in found["arms"]]
    surprise = -sum(share * math.log(share) for share in shares if share)
    assert found["entropy"] == pytest.approx(surprise / math.log(len(shares)))
    by_report = await decided(visited, "random", "right")
    assert {arm["offer_id"]: arm["selected"] for arm in found["arms"]} == by_report
    for arm in found["arms"]:
        assert arm["posterior_mean"] is None
        assert (arm["observations"], arm["open"]) == (arm["selected"], 0)
        assert arm["mean"] == pytest.approx(arm["successes"] / arm["observations"])


async def test_a_policy_on_features(visited: Nextbest) -> None:
    found = await arms(visited, "calibrated", "placement=left")
    assert found["learned"]
    assert {arm["offer_id"] for arm in found["arms"]} == {"gold", "silver", "phone"}
    for arm in found["arms"]:
        assert 0 <= arm["posterior_low"] <= arm["posterior_mean"] <= arm["posterior_high"] <= 1
    observations = sum(arm["observations"] for arm in found["arms"])
    assert observations == pytest.approx(120 * weight_now(visited, "calibrated@1"), rel=0.001)
    assert (found["entropy"], found["warning"]) == (None, None)  # it decided nothing


async def test_offers_that_are_not_live_are_not_judged(visited: Nextbest) -> None:
    before = await arms(visited, "thompson")
    assert before["leader"] is not None
    await visited.api.ok("POST", f"/v1/offers/{before['leader']}/status", json={"status": "paused"})
    try:
        after = await arms(visited, "thompson")
    finally:
        await visited.api.ok("POST", f"/v1/offers/{before['leader']}/status", json={"status": "live"})
    assert after["leader"] not in (None, before["leader"])
    assert [a["offer_id"] for a in after["arms"]] == [a["offer_id"] for a in before["arms"]]


async def test_an_offer_that_was_given_up_too_early_is_named(visited: Nextbest) -> None:
    await put_offer(visited.api, "newcomer", value=400)
    state = visited.api.state
    async with state.engine.begin() as connection:
        await connection.exec_driver_sql(
            "UPDATE acceptance SET decided = decided * 1000 WHERE offer_id = 'gold' AND policy = 'thompson@1'"
        )
    found = await arms(visited, "thompson", "placement=left")
    assert found["warning"].startswith("exploration has died too early: ")
    assert "newcomer" in found["warning"]


async def test_what_there_is_not(visited: Nextbest) -> None:
    for path in ("nothing/arms", "thompson/arms?version=7", "thompson/arms?placement=nowhere"):
        problem_of(await visited.api.call("GET", f"/v1/policies/{path}"), 404)
    for query, field in (("version=0", "version"), ("version=x", "version"), ("offer=gold", "offer")):
        problem_of(await visited.api.call("GET", f"/v1/policies/thompson/arms?{query}"), 422, field)
    await add_bad_policy(visited, "unbuilt", None)

    async def known() -> bool:
        return "unbuilt@1" in visited.api.state.roster.broken

    await eventually(known, "the policy to be known as broken")
    problem = problem_of(await visited.api.call("GET", "/v1/policies/unbuilt/arms"), 409)
    assert "none_such" in problem["detail"]


async def selections(nextbest: Nextbest, policy: str, query: str = "") -> Any:
    """What a policy selected over time."""
    return await nextbest.api.ok("GET", f"/v1/policies/{policy}/selections?{query}", role="scientist")


async def fill(nextbest: Nextbest, policy: str, offers: int, hours: int) -> None:
    """Fill the roll-up of March 2025: each hour, an offer is selected as often as its number says."""
    async with nextbest.api.state.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO acceptance (hour, placement, policy, offer_id, grp, decided)"
                " SELECT timestamptz '2025-03-01T00:00Z' + h * interval '1 hour', 'long-ago', :policy, 'o' || n,"
                " 'champion', n FROM generate_series(0, cast(:hours AS integer) - 1) AS h,"
                " generate_series(1, cast(:offers AS integer)) AS n"
            ),
            {"policy": policy, "hours": hours, "offers": offers},
        )


async def test_selections_over_time_are_those_of_the_reports(visited: Nextbest) -> None:
    by_report = await decided(visited, "random", "right")
    found = await selections(visited, "random", "placement=right")
    assert {offer["offer_id"]: offer["selected"] for offer in found["top"]} == by_report
    assert (found["policy"], found["version"], found["rest"]) == ("random", 1, 0)
    assert found["total"] == sum(by_report.values())
    assert found["offers"] == len(by_report)
    assert sum(offer["share"] for offer in found["top"]) == pytest.approx(1)
    assert all(offer["name"] for offer in found["top"])
    for per in ("day", "hour"):
        times = (await selections(visited, "random", f"placement=right&per={per}"))["times"]
        assert sum(at["total"] for at in times) == found["total"]
        for at in times:
            assert sum(at["selected"]) + at["rest"] == at["total"] > 0
    assert (await selections(visited, "random", "placement=nowhere"))["times"] == []


async def test_the_top_of_many_offers_and_the_rest(visited: Nextbest) -> None:
    offers, hours = 300, 7 * 24
    await fill(visited, "calibrated@1", offers, hours)
    found = await selections(visited, "calibrated", "version=1&since=2025-03-01&until=2025-03-08&top=3")
    assert [offer["offer_id"] for offer in found["top"]] == ["o300", "o299", "o298"]
    assert [offer["name"] for offer in found["top"]] == [None] * 3
    assert (found["offers"], found["total"]) == (offers, hours * offers * (offers + 1) // 2)
    assert len(found["times"]) == 7
    for at in found["times"]:
        assert at["selected"] == [24 * 300, 24 * 299, 24 * 298]
        assert at["rest"] == at["total"] - sum(at["selected"])
    assert found["rest"] == sum(at["rest"] for at in found["times"])


async def test_days_are_those_of_the_time_zone(visited: Nextbest) -> None:
    await fill(visited, "propensity@1", 2, 48)
    found = await selections(
        visited, "propensity", "version=1&since=2025-03-01&until=2025-03-03&time_zone=Europe/Madrid"
    )
    assert [at["at"] for at in found["times"]] == ["2025-02-28T23:00:00Z", "2025-03-01T23:00:00Z"]
    assert [at["total"] for at in found["times"]] == [23 * 3, 24 * 3]
    hours = await selections(visited, "propensity", "version=1&per=hour&since=2025-03-01&until=2025-03-02")
    assert [at["at"] for at in hours["times"]][:2] == ["2025-03-01T00:00:00Z", "2025-03-01T01:00:00Z"]
    assert len(hours["times"]) == 24


async def test_bad_questions_about_selections_are_refused(visited: Nextbest) -> None:
    async def refused(name: str, query: str, status: int, field: str | None = None) -> str:
        answer = await visited.api.call("GET", f"/v1/policies/{name}/selections?{query}")
        return str(problem_of(answer, status, field)["detail"])

    await refused("none-such", "", 404)
    await refused("thompson", "version=999", 404)
    said = await refused("thompson", "per=hour&since=2025-03-01&until=2025-04-02", 422, "since")
    assert "31 days at most" in said
    assert "per=day" in said
    await refused("thompson", "since=2025-03-02&until=2025-03-02", 422, "until")
    await refused("thompson", "top=0", 422, "top")
    await refused("thompson", "time_zone=Mars/Crater", 422, "time_zone")
    await refused("thompson", "per=week", 422, "per")
    for query in ("since=9998-12-31", "until=1970-01-01", "since=2999-01-01"):
        assert (await selections(visited, "thompson", query))["total"] == 0
