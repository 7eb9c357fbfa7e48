"""Canaries that are rolled back by themselves, and those that are not: through the API, the log and the audit trail."""

import asyncio
import math
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text

from app.api.monitoring import routes
from app.worker.guardrail_watch import GuardrailWatch
from decisioning.errors import PreconditionFailed
from decisioning.reporting.over_time import store_canary_course
from decisioning.reporting.over_time.store_canary_course import counted_parts
from storage import clock
from tests.support.api import Nextbest, problem_of
from tests.support.canaries import (
    Crowd,
    add_bad_policy,
    counted,
    deploy,
    deployed,
    guard_of,
    in_force,
    place,
    raises,
    trail,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def rollbacks(placement: str, cause: str, policy: str = "random@1") -> float:
    """The metric."""
    labels = {"placement": placement, "policy": policy, "cause": cause}
    return REGISTRY.get_sample_value("nextbest_rollbacks_total", labels) or 0.0


async def test_a_canary_that_is_worse_is_rolled_back(shop: Nextbest) -> None:
    await place(shop.api, "worse")
    await deploy(shop, "worse", "random@1")
    crowd, guard = Crowd(shop, "worse", 7, thompson=0.7, random=0.35), guard_of(shop)
    for _ in range(30):
        await crowd.come(20)
        await guard.round()
        version, body = await deployed(shop, "worse")
        if body.get("canary") is None:
            break
    assert body["canary"] is None
    assert body["was"] == ["random@1"]
    assert body["champion"] == "thompson@1"
    entry = await trail(shop, "worse")
    assert (entry["author"], entry["version"]) == ("guardrails", version)
    by_canary = [a for a in crowd.answers if a["policy"]["name"] == "random"]
    assert "canary random@1 rolled back: it is worse than the champion" in entry["reason"]
    assert f"of {len(by_canary)} customers" in entry["reason"]
    assert f"of {len(crowd.answers) - len(by_canary)} customers" in entry["reason"]
    assert rollbacks("worse", "worse") == 1
    test = await counted(shop, "worse")
    assert (test.cause, entry["reason"]) == ("worse", f"canary random@1 rolled back: {test.reason}")
    await in_force(shop.api, version)
    after = await crowd.come(20)
    assert {a["policy"]["name"] for a in after} == {"thompson"}
    await guard.round()
    assert (await deployed(shop, "worse"))[0] == version
    (stage,) = (await shop.api.ok("GET", "/v1/reports/canaries?placement=worse", role="scientist"))["stages"]
    assert (stage["cause"], stage["reason"], stage["share"]) == ("worse", test.reason, 0.5)
    assert stage["canary"]["observations"] == len(by_canary)
    assert stage["canary"]["policy"] == "random"
    assert stage["canary"]["rate"] == test.canary.rate
    assert stage["difference_high"] < 0
    assert stage["e_value"] > stage["needed"] == 20


async def test_an_equal_canary_stays_and_each_customer_counts_once(shop: Nextbest) -> None:
    await place(shop.api, "equal")
    version = await deploy(shop, "equal", "random@1")
    crowd, guard = Crowd(shop, "equal", 8, thompson=0.5, random=0.5), guard_of(shop)
    for _ in range(5):
        await crowd.come(20)
        await guard.round()
        await guard.round()
    test = await counted(shop, "equal")
    by_canary = sum(a["policy"]["name"] == "random" for a in crowd.answers)
    assert (test.canary.observations, test.others.observations) == (by_canary, 100 - by_canary)
    assert (test.canary.decisions, test.others.decisions) == (by_canary, 100 - by_canary)
    again = Crowd(shop, "equal", 9, thompson=1.0, random=0.0)
    await again.come(60)  # the same customers come back: they have been counted
    await asyncio.gather(guard.round(), guard_of(shop).round())
    assert (await counted(shop, "equal")).canary == test.canary.add_decisions(
        sum(a["policy"]["name"] == "random" for a in again.answers), None
    )
    assert (await deployed(shop, "equal"))[0] == version


async def test_silence_counts_after_the_horizon_and_nothing_before_its_turn(shop: Nextbest) -> None:
    await place(shop.api, "silent")
    await deploy(shop, "silent", "random@1")
    crowd = Crowd(shop, "silent", 10, thompson=0.5, random=0.5)
    await crowd.come(30, silent=True)
    await guard_of(shop).round()
    before = await counted(shop, "silent")
    assert before.canary.observations + before.others.observations < 10
    assert before.canary.observations + before.others.observations == (
        before.canary.acceptances + before.others.acceptances
    )
    await guard_of(shop, ahead_s=30).round()
    assert (await counted(shop, "silent")).canary == before.canary
    await guard_of(shop, ahead_s=61).round()
    after = await counted(shop, "silent")
    assert after.canary.observations + after.others.observations == 30


async def test_a_canary_that_raises_is_rolled_back_and_nobody_goes_without_an_answer(shop: Nextbest) -> None:
    await add_bad_policy(shop, "broken", raises)
    await place(shop.api, "raising")
    await deploy(shop, "raising", "broken@1")
    crowd, guard = Crowd(shop, "raising", 11, thompson=0.5, propensity=0.5), guard_of(shop)
    answers = await crowd.come(30)
    failed = [a for a in answers if a["degraded"]]
    assert len(failed) > 5
    assert all(a["policy"]["name"] == "propensity" and a["offers"] for a in failed)
    assert {reason for a in failed for reason in a["degraded"]} == {"policy_failed"}
    labels = {"placement": "raising", "policy": "broken@1", "reason": "policy_failed"}
    assert REGISTRY.get_sample_value("nextbest_policy_failures_total", labels) == len(failed)
    await guard.round()
    version, body = await deployed(shop, "raising")
    assert (body["canary"], body["was"]) == (None, ["broken@1"])
    assert (
        f"it failed in {len(failed)} of {len(failed)} decisions" in (await trail(shop, "raising"))["reason"]
    )
    assert rollbacks("raising", "failures", "broken@1") == 1
    test = await counted(shop, "raising")
    assert (test.canary.observations, test.canary.decisions) == (len(failed), len(failed))
    await in_force(shop.api, version)
    assert {a["policy"]["name"] for a in await crowd.come(20)} == {"thompson"}


async def test_what_hits_the_champion_as_well_is_not_the_canarys_fault(shop: Nextbest) -> None:
    await place(shop.api, "both")
    version = await deploy(shop, "both", "random@1")
    async with shop.another(policy_budget_ms=1e-9) as hasty:
        await in_force(hasty, version)
        body = {"placement": "both"}
        for number in range(60):
            answer = await hasty.ok("POST", "/v1/decisions", json=body | {"customer_id": f"b{number}"})
            assert answer["offers"]
    await shop.worker.drain()
    await guard_of(shop).round()
    test = await counted(shop, "both")
    assert test.canary.decisions + test.others.decisions == 60
    assert test.canary.slow > 5
    assert test.others.slow > 5
    assert (await deployed(shop, "both"))[0] == version


async def test_a_policy_that_no_process_knows_is_given_a_moment(shop: Nextbest) -> None:
    await place(shop.api, "unknown")
    await add_bad_policy(shop, "nobody", None)
    version = await deploy(shop, "unknown", "nobody@1")
    crowd = Crowd(shop, "unknown", 13, thompson=0.5, propensity=0.5)
    answers = await crowd.come(20)
    assert {reason for a in answers for reason in a["degraded"]} == {"policy_unavailable"}
    await guard_of(shop).round()
    assert (await counted(shop, "unknown")).canary.failures == 0
    assert (await deployed(shop, "unknown"))[0] == version
    canary = {"policy": "nobody@1", "share": 0.5, "since_ms": clock.now_ms() - 60_000}
    await deploy(shop, "unknown", canary)
    await guard_of(shop).round()
    assert (await deployed(shop, "unknown"))[1]["canary"] is None


async def test_a_person_and_the_guard_at_the_same_time(shop: Nextbest) -> None:
    """The guard changes nothing that it has not read."""
    await add_bad_policy(shop, "broken", raises)
    await place(shop.api, "race")
    await deploy(shop, "race", "broken@1")
    await Crowd(shop, "race", 14, thompson=0.5, propensity=0.5).come(30)
    guard = guard_of(shop)
    put = guard.catalogues.put

    async def beaten(*arguments: Any, **more: Any) -> Any:
        await deploy(shop, "race", None, champion="random@1")
        return await put(*arguments, **more)

    guard.catalogues.put = beaten  # type: ignore[method-assign]
    await guard.round()
    assert (await deployed(shop, "race"))[1]["champion"] == "random@1"
    assert (await trail(shop, "race"))["author"] == "tests"
    guard.catalogues.put = put  # type: ignore[method-assign]
    await guard.round()
    assert (await counted(shop, "race")).cause == "changed"
    assert rollbacks("race", "failures", "broken@1") == 0
    with pytest.raises(PreconditionFailed):
        await put("deployment", "race", {}, "tests", expected=1)


async def failing_canary(shop: Nextbest, placement: str) -> GuardrailWatch:
    """A guard that will roll back a canary that raises."""
    await add_bad_policy(shop, "broken", raises)
    await place(shop.api, placement)
    await deploy(shop, placement, "broken@1")
    await Crowd(shop, placement, 18, thompson=0.5, propensity=0.5).come(30)
    return guard_of(shop)


async def test_the_reason_of_a_rollback_outlives_the_guard(shop: Nextbest) -> None:
    guard = await failing_canary(shop, "killed")
    put = guard.catalogues.put

    async def killed(*arguments: Any, **more: Any) -> Any:
        await put(*arguments, **more)
        raise asyncio.CancelledError

    guard.catalogues.put = killed  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await guard.round()
    assert (await deployed(shop, "killed"))[1]["canary"] is None
    await guard_of(shop).round()
    assert (await counted(shop, "killed")).cause == "failures"


async def test_the_reason_of_a_rollback_counts_more_than_a_guard_that_is_behind(shop: Nextbest) -> None:
    guard = await failing_canary(shop, "behind")
    put = guard.catalogues.put

    async def after_the_other(*arguments: Any, **more: Any) -> Any:
        store = guard.canaries
        await store.end_others({canary.placement for canary in await store.running()} - {"behind"})
        assert (await counted(shop, "behind")).cause == "changed"
        return await put(*arguments, **more)

    guard.catalogues.put = after_the_other  # type: ignore[method-assign]
    await guard.round()
    test = await counted(shop, "behind")
    assert test.cause == "failures"
    assert (await trail(shop, "behind"))["reason"] == f"canary broken@1 rolled back: {test.reason}"


async def test_a_canary_that_is_started_again_begins_a_new_test(shop: Nextbest) -> None:
    await place(shop.api, "again")
    await deploy(shop, "again", "random@1")
    crowd, guard = Crowd(shop, "again", 15, thompson=0.5, random=0.5), guard_of(shop)
    await crowd.come(20)
    await guard.round()
    first = await counted(shop, "again")
    assert first.canary.observations > 0
    await deploy(shop, "again", None)
    await guard.round()
    assert (await counted(shop, "again")).ended_at is not None
    await deploy(shop, "again", "random@1")
    await guard.round()
    second = await counted(shop, "again")
    assert second.test_id != first.test_id
    assert (second.canary.observations, second.carried) == (0, 0)


async def test_evidence_goes_on_when_the_share_grows(shop: Nextbest) -> None:
    await place(shop.api, "growing")
    since_ms = clock.now_ms()
    canary = {"policy": "random@1", "share": 0.5, "since_ms": since_ms}
    await deploy(shop, "growing", canary)
    crowd, guard = Crowd(shop, "growing", 16, thompson=0.9, random=0.5), guard_of(shop)
    await crowd.come(20)
    await guard.round()
    first = await counted(shop, "growing")
    await deploy(shop, "growing", canary | {"share": 0.6})
    await guard.round()
    second = await counted(shop, "growing")
    assert (second.canary.observations, second.others.observations) == (0, 0)
    assert second.carried != 0
    assert second.started_at > first.started_at
    await crowd.come(10)
    await guard.round()
    third = await counted(shop, "growing")
    assert third.canary.observations + third.others.observations == 10


async def test_where_nobody_named_a_champion_it_is_the_placements_policy(shop: Nextbest) -> None:
    await place(shop.api, "plain", policy="thompson")
    await deploy(shop, "plain", "random@1", champion=None)
    await Crowd(shop, "plain", 17, thompson=0.5, random=0.5).come(20)
    await guard_of(shop).round()
    test = await counted(shop, "plain")
    assert test.champion == "thompson@1"
    assert test.canary.observations + test.others.observations == 20


@pytest.mark.parametrize("champion", ["thompson", "broken"])
async def test_an_apprentices_canary_is_compared_with_the_caller(shop: Nextbest, champion: str) -> None:
    """Also where the champion cannot even score what the caller chose."""
    await add_bad_policy(shop, "broken", raises)
    placement = f"desk-of-{champion}"
    await place(shop.api, placement)
    await deploy(shop, placement, "random@1", champion=f"{champion}@1", apprentice=True)
    for number in range(20):
        body = {"customer_id": f"a{number}", "placement": placement, "baseline": ["gold"]}
        answer = await shop.api.ok("POST", "/v1/decisions", json=body, role="frontend")
        told = {"decision_id": answer["decision_id"], "offer_id": answer["offers"][0]["offer_id"]}
        await shop.api.ok("POST", "/v1/feedback", json=told | {"outcome": "rejected"}, role="frontend")
    await shop.worker.drain()
    await guard_of(shop).round()
    test = await counted(shop, placement)
    assert test.champion == "caller@1"
    assert test.others.observations > 5
    assert test.canary.observations + test.others.observations == 20
    assert test.others.decisions == test.others.observations
    assert test.others.failures == (test.others.decisions if champion == "broken" else 0)


async def test_what_is_not_archived_yet_is_waited_for(shop: Nextbest) -> None:
    await place(shop.api, "lagging")
    await deploy(shop, "lagging", "random@1")
    for number in range(20):
        body = {"customer_id": f"l{number}", "placement": "lagging"}
        await shop.api.ok("POST", "/v1/decisions", json=body, role="frontend")
        if number == 9:
            await shop.worker.archive()
    await guard_of(shop, ahead_s=120).round()
    seen = await counted(shop, "lagging")
    assert seen.canary.observations + seen.others.observations <= 10
    assert seen.canary.decisions + seen.others.decisions <= 10
    await shop.worker.archive()
    await guard_of(shop, ahead_s=120).round()
    test = await counted(shop, "lagging")
    assert test.canary.observations + test.others.observations == 20
    assert test.canary.decisions + test.others.decisions == 20


async def sql(shop: Nextbest, statement: str, **values: Any) -> None:
    """Run a statement on the archive."""
    async with shop.api.state.engine.begin() as connection:
        await connection.execute(text(statement), values)


async def test_the_course_of_a_test_is_made_again_from_the_log(shop: Nextbest) -> None:
    """Counted in SQL, it adds up to what the guard counted one by one: late, unconfirmed and repeated ones included."""
    await place(shop.api, "course", presentation="explicit")
    await deploy(shop, "course", "random@1", guardrails={"alpha": 0.001, "horizon_s": 60})
    crowd = Crowd(shop, "course", 19, thompson=0.7, random=0.4)
    answers = await crowd.come(60)
    await Crowd(shop, "course", 20, thompson=0.1, random=0.9).come(20)  # the same customers again
    await crowd.come(20, silent=True)  # nobody confirmed what these saw, unless they accepted
    late = "UPDATE outcomes SET recorded_ms = recorded_ms + :by WHERE decision_id = ANY(:ids)"
    await sql(shop, late, by=90_000, ids=[answer["decision_id"] for answer in answers[:8]])
    for answer in answers[8:12]:  # an answer that is changed: the first one counts
        for outcome in ("rejected", "accepted"):
            told = {"decision_id": answer["decision_id"], "offer_id": answer["offers"][0]["offer_id"]}
            await shop.api.call("POST", "/v1/feedback", json=told | {"outcome": outcome}, role="frontend")
    await shop.worker.drain()
    await guard_of(shop, ahead_s=200).round()
    test = await counted(shop, "course")
    assert 50 < test.canary.observations + test.others.observations < 80
    assert (await deployed(shop, "course"))[1]["canary"] is not None
    parts = await counted_parts(shop.api.state.engine, test)
    for side in ("canary", "others"):
        sums = [getattr(part, side) for part in parts]
        whole = getattr(test, side)
        assert sum(counts.observations for counts in sums) == whole.observations
        assert sum(counts.acceptances for counts in sums) == whole.acceptances
    path = f"/v1/reports/canaries/{test.test_id}/course"
    course = await shop.api.ok("GET", path, role="ops")
    (stage,) = (await shop.api.ok("GET", "/v1/reports/canaries?placement=course"))["stages"]
    assert stage["test_id"] == test.test_id
    assert (course["policy"], course["champion"], course["missing"]) == ("random@1", "thompson@1", 0)
    assert course["needed_log_e"] == pytest.approx(math.log(stage["needed"]))
    assert (course["promotes"], course["margin"], course["carried_log_e"]) == (False, 0, 0)
    points = course["points"]
    assert len(points) > 1
    times = [point["at"] for point in points]
    assert times == sorted(set(times))
    seen = [point["canary_observations"] + point["champion_observations"] for point in points]
    assert seen == sorted(seen)
    last = points[-1]
    assert math.exp(last["worse_log_e"]) == pytest.approx(stage["e_value"])
    assert (last["difference_low"], last["difference_high"]) == (
        stage["difference_low"],
        stage["difference_high"],
    )
    assert last["canary_observations"] == stage["canary"]["observations"]

    few = await counted_parts(shop.api.state.engine, test, most=20)
    assert 0 < sum(part.canary.observations + part.others.observations for part in few) <= 21
    gone = [answer["decision_id"] for answer in answers[20:25]]
    await sql(shop, "DELETE FROM decisions WHERE decision_id = ANY(:ids)", ids=gone)
    after = await shop.api.ok("GET", path)
    assert after["missing"] == 5
    assert after["points"][-1] == last


async def test_courses_are_read_one_at_a_time_and_given_up_with_the_way_out(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place(shop.api, "slow-course")
    await deploy(shop, "slow-course", "random@1")
    await guard_of(shop).round()
    test = await counted(shop, "slow-course")
    path = f"/v1/reports/canaries/{test.test_id}/course"
    at_once: list[int] = []
    under_way = 0

    async def watched(*arguments: Any) -> Any:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        try:
            return await counted_parts(*arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(routes, "counted_parts", watched)
    await asyncio.gather(*(shop.api.ok("GET", path) for _ in range(4)))
    assert at_once == [1] * 4
    monkeypatch.setattr(store_canary_course, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(store_canary_course, "_END", text("SELECT pg_sleep(2)"))
    problem = problem_of(await shop.api.call("GET", path), 422, "test_id")
    assert "GET /v1/reports/canaries" in str(problem)
    monkeypatch.undo()
    await shop.api.ok("GET", path)


async def test_the_course_of_a_test_that_there_is_not(shop: Nextbest) -> None:
    problem_of(await shop.api.call("GET", f"/v1/reports/canaries/{2**62}/course"), 404)
    problem_of(await shop.api.call("GET", f"/v1/reports/canaries/{2**70}/course"), 422)
    problem_of(await shop.api.call("GET", "/v1/reports/canaries/spring/course"), 422)


async def test_a_test_that_counted_nothing_has_a_course_of_one_point(shop: Nextbest) -> None:
    await place(shop.api, "nobody-came")
    await deploy(shop, "nobody-came", "random@1")
    await guard_of(shop).round()
    test = await counted(shop, "nobody-came")
    course = await shop.api.ok("GET", f"/v1/reports/canaries/{test.test_id}/course")
    assert [point["difference"] for point in course["points"]] == [None]
