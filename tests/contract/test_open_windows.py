"""Rates and estimates while reward windows are open: acceptances are told at once, silence days later.

300 decisions at a true acceptance of 5 %, in a window of five days. Whatever reports a rate or an estimate of them must
cover the truth, or say that nothing is closed yet.
"""

from typing import Any

import pytest
import pytest_asyncio

from app.commands.policy.policy_evaluate import result_lines
from decisioning.log.store_sql import REBUILD_ACCEPTANCE
from storage import clock
from storage.clock import to_iso
from tests.support.api import Nextbest, decide, tell
from tests.support.canaries import deploy, guard_of, place

pytestmark = pytest.mark.asyncio(loop_scope="module")

WINDOW_S = 5 * 86_400
DECISIONS = 300
RATE = 0.05
ACCEPTED = round(RATE * DECISIONS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def young(shop: Nextbest) -> Nextbest:
    """An installation with 300 decisions, of which one in twenty was accepted at once; the rest is silent so far."""
    await shop.api.ok("PUT", "/v1/segments/all", json={"when": "true"})
    await place(shop.api, "slow", reward_window_s=WINDOW_S, control_share=0)
    await deploy(
        shop,
        "slow",
        None,
        champion="random@1",
        shadows=["thompson@1"],
        controls=[{"kind": "random", "share": 0.3}],
    )
    await shop.worker.shadow()
    for number in range(DECISIONS):
        # By the id offers are drawn: other ones each time would now and then be a sample that misses the truth.
        answer = await decide(shop.api, f"slow-{number}", "slow", decision_id=f"slow-{number}")
        if number % round(1 / RATE) == 0:
            await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
    await shop.worker.drain()
    await shop.worker.shadow()
    return shop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grown(young: Nextbest) -> Nextbest:
    """The same, five days later, with one decision more."""
    await young.worker.expire(ahead_s=WINDOW_S + 60)
    await young.worker.drain()
    answer = await decide(young.api, "slow-last", "slow", decision_id="slow-last")
    await tell(young.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
    await young.worker.drain()
    await young.worker.shadow()
    return young


async def acceptance(nextbest: Nextbest, query: str) -> list[dict[str, Any]]:
    """The rows of the acceptance report of the placement."""
    answer = await nextbest.api.ok("GET", f"/v1/reports/acceptance?placement=slow&{query}")
    rows: list[dict[str, Any]] = answer["rows"]
    return rows


async def compared(nextbest: Nextbest) -> Any:
    """The comparison of the placement's policies."""
    return await nextbest.api.ok("GET", "/v1/placements/slow/policies/comparison", role="scientist")


async def evaluated(nextbest: Nextbest) -> Any:
    """The result of an evaluation in the placement."""
    body = {"policy": "thompson@1", "placement": "slow"}
    asked = await nextbest.api.ok("POST", "/v1/evaluations", json=body, role="scientist")
    await nextbest.worker.evaluate()
    found = await nextbest.api.ok("GET", f"/v1/evaluations/{asked['evaluation_id']}")
    assert found["state"] == "done", found["error"]
    return found["result"]


@pytest.mark.parametrize("query", ["by=placement", "by=segment"])
async def test_a_report_of_open_windows_has_no_rate(young: Nextbest, query: str) -> None:
    (row,) = await acceptance(young, query)
    assert (row["decided"], row["accepted"], row["open"], row["observed"]) == (
        DECISIONS,
        ACCEPTED,
        DECISIONS,
        0,
    )
    assert (row["rate"], row["low"], row["high"]) == (None, 0, 1)


async def test_groups_are_not_compared_by_open_windows(young: Nextbest) -> None:
    rows = await acceptance(young, "by=group")
    assert {row["group"] for row in rows} == {"champion", "random"}
    assert sum(row["open"] for row in rows) == DECISIONS
    for row in rows:
        assert (row["rate"], row["lift"], row["difference"]) == (None, None, None)
        assert (row["difference_low"], row["difference_high"]) == (-1, 1)


async def test_policies_are_not_compared_by_open_windows(young: Nextbest) -> None:
    found = await compared(young)
    assert {row["group"] for row in found["deciding"]} == {"champion", "random"}
    for row in found["deciding"]:
        assert row["decisions"] == row["shown"] == row["open"] > 0
        assert (row["observed"], row["accepted"], row["acceptance"]["value"]) == (0, 0, None)
    assert any(f"{DECISIONS} of {DECISIONS} offers shown are still open" in note for note in found["notes"])
    (shadow,) = found["shadows"]
    assert (shadow["judged"], shadow["estimates"]) == (DECISIONS, None)
    assert [(out["reason"], out["slots"]) for out in shadow["left_out"]] == [("open", DECISIONS)]
    assert shadow["warnings"][0].startswith(
        f"Nothing is closed yet: the reward windows of all {DECISIONS} slots"
    )


async def test_nothing_is_estimated_of_open_windows(young: Nextbest) -> None:
    found = await evaluated(young)
    assert (found["decisions"], found["open"], found["estimates"], found["logged"]) == (
        0,
        DECISIONS,
        None,
        [],
    )
    assert found["warnings"][0].startswith(
        f"Nothing is closed yet: the reward windows of all {DECISIONS} decisions"
    )
    assert f"{DECISIONS} decisions with an open reward window are not used" in result_lines(found)


async def test_a_canary_is_not_judged_by_acceptances_that_are_ahead_of_silence(young: Nextbest) -> None:
    await place(young.api, "tried", reward_window_s=WINDOW_S)
    await deploy(young, "tried", "random@1")
    for number in range(40):
        answer = await decide(young.api, f"tried-{number}", "tried")
        if number % 2:
            await tell(young.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
    await young.worker.drain()
    found = []
    for ahead_s in (0, 61):  # the horizon is a minute
        await guard_of(young, ahead_s).round()
        (stage,) = (await young.api.ok("GET", "/v1/reports/canaries?placement=tried"))["stages"]
        found.append(stage)
    early, later = found
    assert [early[side]["observations"] for side in ("canary", "champion")] == [0, 0]
    assert early["open"] == 40
    assert later["canary"]["observations"] + later["champion"]["observations"] == 40
    assert later["canary"]["acceptances"] + later["champion"]["acceptances"] == 20
    assert later["open"] == 0
    assert early["counted_until"] < later["counted_until"]


async def arms(nextbest: Nextbest) -> list[dict[str, Any]]:
    """The arms of the policy that decides: it does not learn, so they are what is known of its selections."""
    found: list[dict[str, Any]] = (await nextbest.api.ok("GET", "/v1/policies/random/arms?placement=slow"))[
        "arms"
    ]
    return found


async def test_arms_have_no_rate_of_open_windows(young: Nextbest) -> None:
    found = await arms(young)
    assert sum(arm["open"] for arm in found) == sum(arm["selected"] for arm in found) == DECISIONS
    for arm in found:
        assert (arm["observations"], arm["mean"], arm["low"], arm["high"]) == (0, None, 0, 1)


@pytest.mark.parametrize("query", ["by=placement", "by=segment"])
async def test_a_report_of_closed_windows_covers_the_truth(grown: Nextbest, query: str) -> None:
    (row,) = await acceptance(grown, query)
    assert (row["decided"], row["accepted"], row["accepted_closed"]) == (
        DECISIONS + 1,
        ACCEPTED + 1,
        ACCEPTED,
    )
    assert (row["observed"], row["open"], row["rate"]) == (DECISIONS, 1, RATE)
    assert row["low"] < RATE < row["high"] < 0.09


async def test_the_lift_of_groups_is_of_closed_windows(grown: Nextbest) -> None:
    rows = {row["group"]: row for row in await acceptance(grown, "by=group")}
    champion, control = rows["champion"], rows["random"]
    assert champion["observed"] + control["observed"] == DECISIONS
    rates = [row["accepted_closed"] / row["observed"] for row in (champion, control)]
    assert control["difference"] == pytest.approx(rates[1] - rates[0])
    assert control["difference_low"] < 0 < control["difference_high"]


async def test_policies_are_compared_by_closed_windows(grown: Nextbest) -> None:
    found = await compared(grown)
    assert sum(row["observed"] for row in found["deciding"]) == DECISIONS
    assert sum(row["accepted"] for row in found["deciding"]) == ACCEPTED
    assert sum(row["open"] for row in found["deciding"]) == 1
    for row in found["deciding"]:
        assert row["acceptance"]["low"] < RATE < row["acceptance"]["high"] < 0.2
    assert not any("still open" in note for note in found["notes"])
    (shadow,) = found["shadows"]
    assert shadow["estimates"]["rows"] == DECISIONS
    assert shadow["estimates"]["earned"]["value"] == pytest.approx(RATE)
    for name in ("ips", "snips", "dr"):
        assert shadow["estimates"][name]["low"] < RATE < shadow["estimates"][name]["high"] < 0.2
    assert not any("open" in warning for warning in shadow["warnings"])


async def test_estimates_of_closed_windows_cover_the_truth(grown: Nextbest) -> None:
    found = await evaluated(grown)
    assert (found["decisions"], found["open"], found["left_out"]) == (DECISIONS, 1, [])
    estimates = found["estimates"]
    assert estimates["earned"]["value"] == pytest.approx(RATE)
    for name in ("earned", "ips", "snips", "dr"):
        assert estimates[name]["low"] < RATE < estimates[name]["high"] < 0.2
    assert not any("open" in warning for warning in found["warnings"])


async def test_arms_have_rates_of_closed_windows(grown: Nextbest) -> None:
    found = await arms(grown)
    assert sum(arm["observations"] for arm in found) == DECISIONS
    assert sum(arm["successes"] for arm in found) == ACCEPTED
    assert sum(arm["open"] for arm in found) == 1
    for arm in found:
        assert not arm["selected"] or arm["low"] < RATE < arm["high"]


async def test_the_roll_up_made_again_is_the_same(grown: Nextbest) -> None:
    before = await acceptance(grown, "by=offer&by=hour&by=group")
    async with grown.api.state.engine.begin() as connection:
        for statement in REBUILD_ACCEPTANCE:
            await connection.exec_driver_sql(statement)
    assert await acceptance(grown, "by=offer&by=hour&by=group") == before


async def test_a_closed_window_shows_no_outcome_that_nobody_told(grown: Nextbest) -> None:
    answer = await decide(grown.api, "slow-told", "slow")
    decision_id, offer_id = answer["decision_id"], answer["offers"][0]["offer_id"]
    await tell(grown.api, decision_id, offer_id, "accepted")
    await grown.worker.expire(ahead_s=WINDOW_S + 60)
    await grown.worker.drain()
    record = await grown.api.ok("GET", f"/v1/decisions/{decision_id}")
    assert [outcome["outcome"] for outcome in record["outcomes"]] == ["accepted"]


async def test_an_answer_that_is_late_is_silence_when_the_window_closes(grown: Nextbest) -> None:
    await place(grown.api, "brief", reward_window_s=30)
    for number, ahead_s in enumerate((0, 60)):
        answer = await decide(grown.api, f"brief-{number}", "brief")
        at = to_iso(clock.now_ms() + ahead_s * 1000)
        await tell(
            grown.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted", occurred_at=at
        )
    await grown.worker.expire(ahead_s=31)
    await grown.worker.drain()
    (row,) = (await grown.api.ok("GET", "/v1/reports/acceptance?by=placement&placement=brief"))["rows"]
    assert (row["decided"], row["accepted"], row["late"], row["open"]) == (2, 1, 1, 0)
    assert (row["accepted_closed"], row["ignored"], row["rate"]) == (1, 1, 0.5)
    compared = (await grown.api.ok("GET", "/v1/placements/brief/policies/comparison"))["deciding"]
    assert [(found["observed"], found["accepted"]) for found in compared] == [(2, 1)]
