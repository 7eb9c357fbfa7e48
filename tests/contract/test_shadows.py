"""Shadows: asked behind the archive, once for each decision, and harmless whatever they do; comparisons made of it."""

from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from app.worker import shadow_runs as shadows
from bandits.policy import TICKS_PER_HALF_LIFE, PolicySpec
from decisioning.policies.store import PolicyStore
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer, tell
from tests.support.canaries import BadPolicy, deploy, place, raises
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATES = {"gold": 0.1, "silver": 0.7, "phone": 0.2, "tablet": 0.4}


async def visits(nextbest: Nextbest, placement: str, count: int, seed: int = 1, **more: Any) -> list[Any]:
    """Customers who come and answer; everything is learned and archived."""
    rng, api = Random(seed), nextbest.api
    answers = []
    for i in range(count):
        answer = await decide(api, f"{placement}-{seed}-{i}", placement, **more)
        for offer in answer["offers"]:
            outcome = "accepted" if rng.random() < RATES[offer["offer_id"]] else "rejected"
            await tell(api, answer["decision_id"], offer["offer_id"], outcome)
        answers.append(answer)
    await nextbest.worker.expire(ahead_s=8 * 86_400)  # only closed windows are compared
    await nextbest.worker.drain()
    return answers


async def rows(nextbest: Nextbest, placement: str) -> list[Any]:
    """Return the stored choices of shadows, in the order of time."""
    query = "SELECT * FROM shadow_choices WHERE placement = :p ORDER BY decided_at, decision_id, policy, rank"
    async with nextbest.api.state.engine.connect() as connection:
        return list((await connection.execute(text(query), {"p": placement})).all())


async def comparison(nextbest: Nextbest, placement: str, **query: Any) -> Any:
    """The report."""
    path = f"/v1/placements/{placement}/policies/comparison"
    return await nextbest.api.ok("GET", path, params=query, role="scientist")


async def prepared(nextbest: Nextbest, placement: str, **deployment: Any) -> None:
    """A placement with shadows, which have seen all there was before."""
    await put_offer(nextbest.api, "phone", value=5)
    await put_offer(nextbest.api, "tablet", value=5)
    await place(nextbest.api, placement, slots=2)
    await deploy(nextbest, placement, deployment.pop("canary", None), **deployment)
    await nextbest.worker.shadow()


async def test_a_shadow_is_asked_about_every_decision_once(shop: Nextbest) -> None:
    await prepared(shop, "window", champion="random@1", shadows=["thompson@1", "propensity@1"])
    answers = await visits(shop, "window", 25)
    await shop.worker.shadow()
    found = await rows(shop, "window")
    assert len(found) == 25 * 2 * 2
    asked = {(row.decision_id, row.policy, row.rank) for row in found}
    assert asked == {
        (answer["decision_id"], policy, rank)
        for answer in answers
        for policy in ("thompson@1", "propensity@1")
        for rank in (1, 2)
    }
    assert {row.error for row in found} == {row.unusable for row in found} == {None}
    logged = {(a["decision_id"], o["rank"]): o["probability"] for a in answers for o in a["offers"]}
    assert all(row.probability == logged[row.decision_id, row.rank] for row in found)
    assert all(0 <= row.chance <= 1 and row.took_us > 0 for row in found)
    assert all(row.chance in (0.0, 1.0) for row in found if row.policy == "propensity@1")

    await shop.worker.shadow()
    async with shop.api.state.engine.begin() as connection:  # a round that is done again
        await connection.execute(text("UPDATE shadow_position SET seq = 0"))
    await shop.worker.shadow()
    assert await rows(shop, "window") == found


async def test_shadows_are_compared_with_those_that_decide(shop: Nextbest) -> None:
    await prepared(shop, "market", champion="random@1", shadows=["thompson@1"])
    told = {}
    for answer in await visits(shop, "market", 150):
        record = await shop.api.ok("GET", f"/v1/decisions/{answer['decision_id']}")
        accepted = {o["offer_id"] for o in record["outcomes"] if o["outcome"] == "accepted"}
        for offer in answer["offers"]:
            told[answer["decision_id"], offer["rank"]] = float(offer["offer_id"] in accepted)
    await shop.worker.shadow()
    found = await comparison(shop, "market", slots="all")
    (deciding,) = found["deciding"]
    assert (deciding["group"], deciding["policy"], deciding["decisions"]) == ("champion", "random@1", 150)
    assert (deciding["shown"], deciding["observed"], deciding["failures"]) == (300, 300, 0)
    assert deciding["acceptance"]["value"] == pytest.approx(deciding["accepted"] / 300)
    (shadow,) = found["shadows"]
    assert (shadow["policy"], shadow["role"], shadow["decisions"], shadow["judged"]) == (
        "thompson@1",
        "shadow",
        150,
        300,
    )
    assert shadow["p95_us"] >= shadow["mean_us"] * 0.5 > 0
    estimates = shadow["estimates"]
    assert estimates["rows"] == 300
    assert estimates["earned"]["value"] == pytest.approx(deciding["acceptance"]["value"])
    kept = await rows(shop, "market")
    terms = [told[row.decision_id, row.rank] * row.chance / row.probability for row in kept]
    assert estimates["ips"]["value"] == pytest.approx(sum(terms) / 300)
    assert any("was known when the policy was asked" in warning for warning in shadow["warnings"])
    first = await comparison(shop, "market")
    assert first["deciding"][0]["observed"] == first["shadows"][0]["estimates"]["rows"] == 150
    few = await comparison(shop, "market", limit=20)
    assert few["deciding"][0]["decisions"] == few["shadows"][0]["decisions"] == 20
    nothing = await comparison(shop, "market", **{"to": "2026-01-01T00:00:00Z"})
    assert nothing["deciding"] == []
    assert nothing["shadows"][0]["estimates"] is None
    assert "can be used" in nothing["shadows"][0]["warnings"][0]
    assert found["apprentice"] is None


async def test_decisions_that_were_taken_back_are_left_out(shop: Nextbest) -> None:
    await prepared(shop, "back", champion="random@1", shadows=["thompson@1"])
    await visits(shop, "back", 2)
    other = await decide(shop.api, "gone", "back")
    await shop.worker.drain()
    async with shop.api.state.engine.connect() as connection:
        at_ms = await connection.scalar(
            text("SELECT cast(header ->> 'decided_at_ms' AS bigint) FROM decisions WHERE decision_id = :id"),
            {"id": other["decision_id"]},
        )
    await shop.api.state.decision_log.withdraw("gone", other["decision_id"], at_ms, at_ms + 1)
    await shop.worker.drain()
    await shop.worker.shadow()
    found = await comparison(shop, "back", slots="all")
    assert found["deciding"][0]["decisions"] == 2
    assert found["shadows"][0]["left_out"][0]["reason"] == "unobserved"
    assert found["shadows"][0]["estimates"]["rows"] == 4


async def test_errors_and_slowness_of_a_shadow_are_shown_and_harm_nobody(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [PolicySpec(name, 1, "random") for name in ("bad", "slow")]
    shop.worker.roster.add(specs)
    shop.worker.roster._policies["bad@1"] = BadPolicy(specs[0], raises)
    for spec in specs:
        await PolicyStore(shop.api.state.engine).register(spec, "tests")
    await prepared(shop, "edge", champion="random@1", shadows=["bad@1", "thompson@1"])
    answers = await visits(shop, "edge", 10)
    assert all(answer["offers"] and answer["degraded"] == [] for answer in answers)
    await shop.worker.shadow()
    bad, good = (await comparison(shop, "edge"))["shadows"]
    assert bad["failures"] == [{"reason": "RuntimeError: this policy cannot choose", "decisions": 10}]
    assert (bad["decisions"], bad["judged"], bad["estimates"], bad["mean_us"]) == (10, 0, None, None)
    assert (good["decisions"], good["judged"], good["failures"]) == (10, 10, [])

    await deploy(shop, "edge", None, champion="random@1", shadows=["slow@1"])
    monkeypatch.setattr(shadows, "SLOW_MS", 0.0)
    await visits(shop, "edge", 10, seed=2)
    await shop.worker.shadow()
    (slow,) = (await comparison(shop, "edge"))["shadows"]
    assert slow["failures"] == [{"reason": "slow", "decisions": 7}]
    assert slow["judged"] == 3


async def test_a_canary_is_asked_about_what_others_decided_too(shop: Nextbest) -> None:
    await prepared(shop, "mine", champion="random@1", canary="thompson@1")
    await visits(shop, "mine", 40)
    await shop.worker.shadow()
    found = await comparison(shop, "mine")
    groups = {row["group"]: row for row in found["deciding"]}
    assert groups.keys() == {"champion", "canary"}
    assert groups["canary"]["policy"] == "thompson@1"
    assert groups["canary"]["decisions"] + groups["champion"]["decisions"] == 40
    (canary,) = found["shadows"]
    assert (canary["role"], canary["decisions"]) == ("canary", 40)


async def test_an_apprentice_is_compared_with_the_caller(shop: Nextbest) -> None:
    await prepared(
        shop,
        "school",
        champion="thompson@1",
        apprentice=True,
        controls=[{"kind": "random", "share": 0.3}],
    )
    await visits(shop, "school", 60, baseline=["silver", "gold"])
    await shop.worker.shadow()
    found = await comparison(shop, "school")
    groups = {row["group"]: row for row in found["deciding"]}
    assert groups.keys() == {"caller", "random"}
    (shadow,) = found["shadows"]
    assert (shadow["policy"], shadow["role"]) == ("thompson@1", "apprentice")
    assert [out["reason"] for out in shadow["left_out"]] == ["caller"]
    assert shadow["estimates"]["rows"] == groups["random"]["decisions"] > 5
    apprentice = found["apprentice"]
    own = groups["caller"]["decisions"]
    assert apprentice["slots"] == sum(day["slots"] for day in apprentice["days"]) == own
    assert apprentice["agrees"]["observed"] + apprentice["differs"]["observed"] == own
    assert apprentice["agreement"]["value"] == pytest.approx(apprentice["agrees"]["observed"] / own)
    assert any("probability is 1" in note for note in apprentice["notes"])
    assert apprentice["imitates"] is False
    assert any("does not imitate" in note for note in apprentice["notes"])


BY_REGION = {"north": "silver", "south": "gold", "west": "phone"}


async def apprenticed(shop: Nextbest) -> None:
    """A placement ``guild`` in which the caller chooses, and an apprentice that sees the region is the champion."""
    api = shop.api
    await prepared(shop, "guild")
    await place(api, "guild", slots=2, off=["V"])
    await api.ok("PUT", "/v1/attributes/customer.region", json={"type": "string"})
    regions = list(BY_REGION)
    feature = {"name": "region", "kind": "category", "path": "customer.region", "values": regions}
    spec = {"name": "novice", "algorithm": "apprentice", "features": [feature], "placements": ["guild"]}
    await api.ok("POST", "/v1/policies", json=spec)
    await shop.worker.warm()
    await deploy(shop, "guild", None, champion="novice@1", apprentice=True)
    await shop.worker.shadow()

    async def followed() -> bool:
        return api.state.replica.epoch("novice@1") is not None

    await eventually(followed, "the instance to follow the policy")


async def come_by_region(
    api: Instance, rng: Random, first: int, count: int, *, taught: bool
) -> list[tuple[str, Any]]:
    """Customers of any region, with the caller's choice and their answer while it teaches; regions and decisions."""
    answers = []
    for number in range(first, first + count):
        region = rng.choice(list(BY_REGION))
        await api.ok("PUT", f"/v1/customers/guild-{number}", json={"attributes": {"region": region}})
        baseline = {"baseline": [BY_REGION[region]]} if taught else {}
        answer = await decide(api, f"guild-{number}", "guild", **baseline)
        if taught:
            outcome = "accepted" if rng.random() < 0.4 else "rejected"
            await tell(api, answer["decision_id"], answer["offers"][0]["offer_id"], outcome)
        answers.append((region, answer))
    return answers


async def test_an_apprentice_learns_to_do_what_the_caller_does(shop: Nextbest) -> None:
    """The caller goes by the region; agreement rises; when the mode is off the champion goes by the region too."""
    api = shop.api
    await apprenticed(shop)
    come = partial(come_by_region, api, Random(4))
    taught = await come(0, 24, taught=True)
    assert {answer["policy"]["name"] for _, answer in taught} == {"caller"}
    await shop.worker.archive()
    await shop.worker.shadow()  # it is asked about these before it has learned anything
    before = (await comparison(shop, "guild"))["apprentice"]
    await come(100, 120, taught=True)
    await shop.worker.drain()
    half = datetime.now(UTC).isoformat()
    await come(300, 30, taught=True)
    await shop.worker.archive()
    await shop.worker.shadow()
    after = (await comparison(shop, "guild", **{"from": half}))["apprentice"]
    assert (before["slots"], after["slots"], after["policy"]) == (24, 30, "novice@1")
    assert before["agreement"]["value"] < 0.7 < 0.9 < after["agreement"]["value"]
    assert before["same_choice"] < after["same_choice"]
    assert after["imitates"] is True
    assert any("departs from the caller" in note for note in after["notes"])
    assert not any("does not imitate" in note for note in after["notes"])

    await api.ok("PUT", "/v1/placements/guild/apprentice", json={"on": False})
    await shop.worker.learn()
    epoch = await shop.worker.epoch("novice@1")

    async def caught_up() -> bool:
        return api.state.replica.epoch("novice@1") == epoch

    await eventually(caught_up, "the instance to follow what was learned")
    own = await come(500, 40, taught=False)
    assert {answer["policy"]["name"] for _, answer in own} == {"novice"}
    same = [answer["offers"][0]["offer_id"] == BY_REGION[region] for region, answer in own]
    assert sum(same) >= 36
    arms = await api.ok("GET", "/v1/policies/novice/arms", params={"placement": "guild"})
    seen = {arm["offer_id"]: arm["observations"] for arm in arms["arms"]}
    # Time passes in steps for what was learned: towards the end of one, a new observation counts for that much more.
    step = 2 ** (1 / TICKS_PER_HALF_LIFE) - 1
    assert sum(seen[offer] for offer in BY_REGION.values()) == pytest.approx(174, rel=step)


async def test_shadows_that_are_far_behind_go_on_with_the_newest(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepared(shop, "busy", champion="random@1", shadows=["propensity@1"])
    monkeypatch.setattr(shadows, "MAX_BEHIND", 3)
    await visits(shop, "busy", 8)
    await shop.worker.shadow()
    assert await rows(shop, "busy") == []
    await visits(shop, "busy", 3, seed=2)
    await shop.worker.shadow()
    assert len(await rows(shop, "busy")) == 6


async def test_without_shadows_nothing_is_kept(shop: Nextbest) -> None:
    await place(shop.api, "plain")
    await visits(shop, "plain", 3)
    await shop.worker.shadow()
    assert await rows(shop, "plain") == []
    assert (await comparison(shop, "plain"))["shadows"] == []


async def test_only_one_worker_at_a_time(shop: Nextbest) -> None:
    await prepared(shop, "twice", champion="random@1", shadows=["propensity@1"])
    await visits(shop, "twice", 2)
    store = shop.worker.shadow_store
    async with store.turn() as mine:
        assert mine is not None
        async with store.turn() as theirs:
            assert theirs is None
    assert await rows(shop, "twice") == []
    await shop.worker.shadow()
    assert len(await rows(shop, "twice")) == 4


async def test_what_is_old_is_forgotten(shop: Nextbest) -> None:
    await prepared(shop, "old", champion="random@1", shadows=["propensity@1"])
    await visits(shop, "old", 3)
    await shop.worker.shadow()
    async with shop.api.state.engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE shadow_choices SET decided_at = decided_at - interval '31 days'"
                " WHERE placement = 'old' AND rank = 1"
            )
        )
    await shop.worker.forget_shadows()

    async def gone() -> bool:
        return [row.rank for row in await rows(shop, "old")] == [2, 2, 2]

    await eventually(gone, "the old choices to be gone")


async def test_there_is_no_comparison_of_nothing(shop: Nextbest) -> None:
    problem_of(await shop.api.call("GET", "/v1/placements/nowhere/policies/comparison"), 404)
    path = "/v1/placements/home/policies/comparison"
    problem_of(await shop.api.call("GET", path, params={"slots": "none"}), 422, "slots")
