"""Choice of the policy for a customer: canaries, control groups and apprentices, from the answer to its replay."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from decisioning.evaluation.replay_service import explain_logged, replay
from decisioning.log.codec import as_json
from tests.support.api import Instance, Nextbest, decide, put_offer, without_policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS = [f"customer-{number}" for number in range(60)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def groups(shop: Nextbest) -> AsyncIterator[Nextbest]:
    """The shop with levers, rules and a placement of its own."""
    await put_offer(shop.api, "gold", value=40, lever=50)
    rules = [{"tier": "applicability", "name": "never", "when": "false"}]
    await put_offer(shop.api, "never", value=5, rules=rules)
    await put_offer(shop.api, "barred", rules=[{"tier": "eligibility", "name": "no", "when": "false"}])
    await put_offer(shop.api, "consented", requires_consent="marketing", rules=rules)
    yield shop


async def place(api: Instance, placement_id: str, *controls: tuple[str, float], **fields: Any) -> None:
    """A placement with control groups."""
    body = {"channel": "web", "slots": 6, "policy": "thompson", "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", f"/v1/placements/{placement_id}", json=body | fields)
    found = [{"kind": kind, "share": share} for kind, share in controls]
    if found:
        await api.ok("PUT", f"/v1/placements/{placement_id}/controls", json={"controls": found})


async def logged(shop: Nextbest, decision_id: str) -> Any:
    """The header of a decision in the archive, which is replayed on the way."""
    await shop.worker.drain()
    state = shop.api.state
    again = await replay(decision_id, state.archive, state.catalogues, state.roster)
    assert again.identical
    decided = await state.archive.decision(decision_id)
    assert decided is not None
    return as_json(decided.decision)


def offers_of(answer: Any) -> set[str]:
    return {offer["offer_id"] for offer in answer["offers"]}


async def test_a_growing_canary_keeps_its_customers(groups: Nextbest) -> None:
    api = groups.api
    await place(api, "grow", ("random", 0.2))
    found: list[set[str]] = []
    for share in (0.1, 0.4, 0.8):
        body = {"policy": "propensity@1", "stage": "canary", "share": share, "force": True}
        await api.ok("POST", "/v1/placements/grow/policies", json=body)
        by = {c: (await decide(api, c, "grow", dry_run=True))["policy"]["name"] for c in CUSTOMERS}
        found.append({customer for customer, name in by.items() if name == "propensity"})
        assert by == {c: (await decide(api, c, "grow", dry_run=True))["policy"]["name"] for c in CUSTOMERS}
    assert found[0] < found[1] < found[2]
    controls = set(CUSTOMERS) - found[2]
    assert {(await decide(api, c, "grow"))["policy"]["name"] for c in controls} == {"random"}


async def test_without_levers(groups: Nextbest) -> None:
    await place(groups.api, "flat", ("no_levers", 1.0))
    await place(groups.api, "steered")
    flat = await decide(groups.api, "ann", "flat")
    steered = await decide(groups.api, "ann", "steered")
    assert {offer["factors"]["L"] for offer in flat["offers"]} == {1.0}
    assert {offer["factors"]["L"] for offer in steered["offers"]} == {1.0, 1.5}
    assert flat["control"]
    assert (flat["policy"]["name"], steered["control"]) == ("thompson", False)
    assert (await logged(groups, flat["decision_id"]))["group"] == "no_levers"


async def test_eligibility_only(groups: Nextbest) -> None:
    await place(groups.api, "open", ("eligibility_only", 1.0))
    await place(groups.api, "strict")
    strict = await decide(groups.api, "ann", "strict")
    free = await decide(groups.api, "ann", "open")
    assert "never" not in offers_of(strict)
    assert "never" in offers_of(free)
    assert not {"barred", "consented", "phone"} & offers_of(free)
    assert (await logged(groups, free["decision_id"]))["group"] == "eligibility_only"
    explained = await decide(groups.api, "ann", "open", explain=True)
    by = {one["offer_id"]: one for one in explained["explanation"]}
    assert by["never"]["result"] == "chosen"
    assert [stop["stage"] for stop in by["barred"]["stops"]] == ["eligibility"]
    assert "applicability" not in [stop["stage"] for stop in by["consented"]["stops"]]


async def test_the_contact_limits_of_a_control_group_hold(groups: Nextbest) -> None:
    await place(groups.api, "limited", ("eligibility_only", 1.0))
    await groups.api.ok("PUT", "/v1/customers/reachable", json={"consents": {"marketing": ["web"]}})
    seen = [offers_of(await decide(groups.api, "reachable", "limited")) for _ in range(3)]
    assert ["phone" in offers for offers in seen] == [True, True, False]


@pytest.mark.parametrize("kind", ["random", "propensity"])
async def test_groups_with_policies_of_their_own(groups: Nextbest, kind: str) -> None:
    await place(groups.api, f"by-{kind}", (kind, 1.0))
    answer = await decide(groups.api, "ann", f"by-{kind}")
    assert (answer["policy"], answer["control"]) == ({"name": kind, "version": 1}, True)
    assert (await logged(groups, answer["decision_id"]))["group"] == kind


async def test_an_apprentice_answers_what_the_caller_wants(groups: Nextbest) -> None:
    api = groups.api
    await place(api, "taught")
    await api.ok("PUT", "/v1/placements/taught/apprentice", json={"on": True})
    wanted = ["silver", "barred", "nonsense", "gold"]
    answer = await decide(api, "ann", "taught", baseline=wanted)
    assert [offer["offer_id"] for offer in answer["offers"]] == ["silver", "gold"]
    assert [offer["probability"] for offer in answer["offers"]] == [1.0, 1.0]
    assert answer["policy"]["name"] == "caller"
    header = await logged(groups, answer["decision_id"])
    assert header["scored_by"] == {"name": "thompson", "version": 1}
    assert header["group"] == "caller"
    assert answer["degraded"] == []
    without = await decide(api, "ann", "taught")
    assert without["degraded"] == ["baseline_missing"]
    assert without["policy"]["name"] == "propensity"
    header = await logged(groups, without["decision_id"])
    assert header["failed"] == {"policy": "thompson@1", "reason": "baseline_missing"}
    await api.ok("PUT", "/v1/placements/taught/apprentice", json={"on": False})
    again = await decide(api, "ann", "taught", baseline=wanted)
    assert (again["policy"]["name"], again["degraded"]) == ("thompson", [])


def chosen(answer: Any) -> list[tuple[str, float]]:
    return [(offer["offer_id"], offer["probability"]) for offer in answer["offers"]]


async def test_a_fallback_that_is_the_champion_too_does_not_speak_for_the_caller(groups: Nextbest) -> None:
    api = groups.api
    await place(api, "plain", policy="propensity")
    await api.ok("PUT", "/v1/placements/plain/apprentice", json={"on": True})
    without = await decide(api, "ann", "plain")
    assert (without["policy"]["name"], without["degraded"]) == ("propensity", ["baseline_missing"])
    assert without["offers"]
    header = await logged(groups, without["decision_id"])
    assert not {"wanted", "scored_by"} & header.keys()
    answer = await decide(api, "ann", "plain", baseline=["silver"])
    assert (answer["policy"]["name"], chosen(answer)) == ("caller", [("silver", 1.0)])
    assert "wanted" in await logged(groups, answer["decision_id"])


async def test_the_callers_choice_stands_where_the_champion_cannot_score_it(groups: Nextbest) -> None:
    api, roster, state = groups.api, groups.api.state.roster, groups.api.state
    await place(api, "headless")
    await api.ok("PUT", "/v1/placements/headless/apprentice", json={"on": True})
    with without_policy(api, "thompson@1"):
        answer = await decide(api, "ann", "headless", baseline=["silver"], explain=True)
        without = await decide(api, "ann", "headless")
    assert (answer["policy"]["name"], answer["degraded"]) == ("caller", ["policy_unavailable"])
    assert chosen(answer) == [("silver", 1.0)]
    assert without["degraded"] == ["baseline_missing"]
    header = await logged(groups, answer["decision_id"])
    assert header["scored_by"] == {"name": "propensity", "version": 1}
    assert header["failed"] == {"policy": "thompson@1", "reason": "policy_unavailable"}
    later = await explain_logged(answer["decision_id"], state.archive, state.catalogues, roster)
    assert later["candidates"] == answer["explanation"]
    report = await api.ok("GET", "/v1/placements/headless/policies/comparison")
    caller = {row["policy"]: (row["decisions"], row["failures"]) for row in report["deciding"]}
    assert caller == {"caller@1": (1, 0), "thompson@1": (1, 1)}


async def test_what_the_champion_finds_unlikely_is_the_callers_to_choose(groups: Nextbest) -> None:
    api, state = groups.api, groups.api.state
    await put_offer(api, "far", min_propensity=0.99)
    await place(api, "picky")
    unlikely = await decide(api, "ann", "picky", explain=True)
    assert "far" not in offers_of(unlikely)
    await api.ok("PUT", "/v1/placements/picky/apprentice", json={"on": True})
    answer = await decide(api, "ann", "picky", baseline=["far", "gold"], explain=True)
    assert chosen(answer) == [("far", 1.0), ("gold", 1.0)]
    by = {one["offer_id"]: one["result"] for one in answer["explanation"]}
    assert (by["far"], by["barred"]) == ("chosen", "stopped")
    header = await logged(groups, answer["decision_id"])
    assert "unlikely" not in header["seen"]
    later = await explain_logged(answer["decision_id"], state.archive, state.catalogues, state.roster)
    assert later["candidates"] == answer["explanation"]


async def test_a_factor_that_is_off_does_not_count_for_the_caller_either(groups: Nextbest) -> None:
    api = groups.api
    await place(api, "weighed", off=["P"])
    await api.ok("PUT", "/v1/placements/weighed/apprentice", json={"on": True})
    answer = await decide(api, "ann", "weighed", baseline=["silver"])
    (offer,) = answer["offers"]
    assert (offer["factors"]["P"], offer["score"]) == (1.0, 10.0)
    await logged(groups, answer["decision_id"])


async def test_a_policy_that_is_not_here_falls_back(groups: Nextbest) -> None:
    api = groups.api
    await place(api, "lonely")
    made = await api.ok("POST", "/v1/policies", json={"name": "absent", "algorithm": "random"})
    body = {"policy": made["policy"], "stage": "champion", "force": True}
    await api.ok("POST", "/v1/placements/lonely/policies", json=body)
    assert (await decide(api, "ann", "lonely"))["policy"]["name"] == "absent"
    with without_policy(api, "absent@1"):
        answer = await decide(api, "ann", "lonely")
    assert answer["degraded"] == ["policy_unavailable"]
    assert answer["policy"]["name"] == "propensity"
    header = await logged(groups, answer["decision_id"])
    assert header["failed"] == {"policy": "absent@1", "reason": "policy_unavailable"}
