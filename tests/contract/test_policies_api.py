"""Policies over HTTP: registered, staged placement by placement, rolled back, retired."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from app.keys import Role
from decisioning.evaluation.replay_service import replay
from decisioning.learning.store_arms import ArmStore
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

YAML = {"Content-Type": "application/yaml"}
PLACE: dict[str, Any] = {"channel": "web", "policy": "thompson", "control_share": 0, "deadline_ms": 5000}
SPEC: dict[str, Any] = {"name": "spring", "algorithm": "thompson", "parameters": {"half_life_days": 30}}


async def register(shop: Nextbest, name: str, *, warm: bool = True, **fields: Any) -> str:
    """Register a policy, and warm it up; returns its key."""
    made = await shop.api.ok("POST", "/v1/policies", json={"name": name, "algorithm": "thompson"} | fields)
    if warm:
        await shop.worker.warm()
    return str(made["policy"])


async def place(shop: Nextbest, placement_id: str, **fields: Any) -> None:
    """A placement of one's own."""
    await shop.api.ok("PUT", f"/v1/placements/{placement_id}", json=PLACE | fields)


async def stage(
    api: Instance, placement_id: str, policy: str, stage: str, role: Role = "scientist", **fields: Any
) -> Any:
    """Give a policy a stage; returns the answer."""
    body = {"policy": policy, "stage": stage} | fields
    return await api.ok("POST", f"/v1/placements/{placement_id}/policies", json=body, role=role)


async def stages(api: Instance, placement_id: str) -> Mapping[str, str]:
    """The policies of a placement with their stages."""
    found = await api.ok("GET", f"/v1/placements/{placement_id}/policies", role="ops")
    return {one["policy"]: one["stage"] for one in found["policies"]}


async def test_versions_are_immutable(shop: Nextbest) -> None:
    made = await shop.api.call(
        "POST", "/v1/policies", json=SPEC, role="scientist", headers={"X-Reason": "why"}
    )
    assert made.status_code == 201
    document = made.json()
    assert (document["policy"], document["state"]) == ("spring@1", "registered")
    assert (document["author"], document["reason"]) == ("test scientist", "why")
    assert document["spec"]["parameters"] == {"half_life_days": 30}
    again = await shop.api.call("POST", "/v1/policies", json=SPEC)
    assert (again.status_code, again.json()["policy"]) == (200, "spring@1")
    assert (await shop.api.call("POST", "/v1/policies", json=SPEC | {"version": 1})).status_code == 200
    other = SPEC | {"reward_window_s": 60}
    refused = problem_of(await shop.api.call("POST", "/v1/policies", json=other | {"version": 1}), 409)
    assert "versions never change" in refused["detail"]
    second = await shop.api.ok("POST", "/v1/policies", json=other)
    assert second["policy"] == "spring@2"
    listed = await shop.api.ok("GET", "/v1/policies/spring", role="ops")
    assert [one["version"] for one in listed] == [1, 2]
    every = {one["policy"]: one for one in await shop.api.ok("GET", "/v1/policies", role="ops")}
    assert every["thompson@1"]["built_in"]
    assert every["spring@2"] == await shop.api.ok("GET", "/v1/policies/spring/2")


async def test_yaml_says_the_same_as_json(shop: Nextbest) -> None:
    document = "name: yaml-one\nalgorithm: thompson\nlearn_since: 2026-01-01T00:00:00Z\nplacements: [home]\n"
    made = await shop.api.ok("POST", "/v1/policies", content=document, headers=YAML)
    assert made["spec"]["learn_since_ms"] == 1_767_225_600_000
    assert made["spec"]["placements"] == ["home"]
    body = {"name": "json-one", "algorithm": "thompson", "learn_since": {"days": 1}}
    since = (await shop.api.ok("POST", "/v1/policies", json=body))["spec"]["learn_since_ms"]
    assert since > 1_767_225_600_000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"algorithm": "tompson"}, "algorithm"),
        ({"parameters": {"half_life": 3}}, None),
        (
            {
                "parameters": {},
                "algorithm": "lin_ucb",
                "features": [{"name": "a", "kind": "numeric", "path": "age"}],
            },
            "features[0].path",
        ),
        ({"features": [{"name": "age", "kind": "numerical"}]}, "features[0].kind"),
        ({"name": "Upper"}, "name"),
        ({"learn_since": "yesterday"}, "learn_since"),
        ({"learn_since": {"days": 0}}, "learn_since.days"),
        ({"learn_from": "clicks"}, "learn_from"),
        ({"learn_from": "value"}, "value_scale"),
        ({"learn_from": "value", "value_scale": None}, "value_scale"),
        ({"reward_window_s": 0}, "reward_window_s"),
        ({"colour": "red"}, "colour"),
        ({"version": 0}, "version"),
    ],
)
async def test_mistakes_are_named(shop: Nextbest, change: dict[str, Any], field: str | None) -> None:
    before = await shop.api.ok("GET", "/v1/policies")
    problem_of(
        await shop.api.call("POST", "/v1/policies", json={**SPEC, "name": "wrong", **change}), 422, field
    )
    assert await shop.api.ok("GET", "/v1/policies") == before


@pytest.mark.parametrize("document", ["name: [", "name: a\nname: b\n", "- 1", "a: &x 1\nb: *x\n", b"\xff"])
async def test_what_is_not_a_specification(shop: Nextbest, document: str | bytes) -> None:
    problem_of(await shop.api.call("POST", "/v1/policies", content=document, headers=YAML), 422)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("reward_window_s: .inf", "reward_window_s"),
        ("parameters: {half_life_days: .nan}", "parameters.half_life_days"),
        ('description: !!binary "/w=="', "description"),
        ("description: !!timestamp soon", "description"),
        ("learn_since: 2026-02-30", "learn_since"),
        ("null: 1", "document"),
    ],
)
async def test_mistakes_in_yaml_are_named_with_their_line(shop: Nextbest, line: str, field: str) -> None:
    document = f"name: odd\nalgorithm: thompson\n{line}\n"
    response = await shop.api.call("POST", "/v1/policies", content=document, headers=YAML)
    assert "line 3: " in str(problem_of(response, 422, field))


async def test_a_feature_that_nobody_ever_sent_is_warned_of(shop: Nextbest) -> None:
    await decide(shop.api, context={"visits": 3})
    await shop.worker.drain()
    features = [
        {"name": "visits", "kind": "numeric", "path": "context.visits"},
        {"name": "visit", "kind": "numeric", "path": "context.vists"},
    ]
    spec = {"name": "unsent", "algorithm": "linear_thompson", "features": features}
    (warning,) = (await shop.api.ok("POST", "/v1/policies", json=spec))["warnings"]
    assert warning.startswith("features.visit.path: 'context.vists' is not declared")
    assert "did you mean 'context.visits'?" in warning


async def test_a_placement_that_is_not_there_is_warned_of_until_it_is(shop: Nextbest) -> None:
    await place(shop, "lobby")
    spec = {"name": "typo", "algorithm": "thompson", "placements": ["lobby", "loby"]}
    made = await shop.api.ok("POST", "/v1/policies", json=spec)
    (warning,) = made["warnings"]
    assert "no placement 'loby'" in warning
    assert "did you mean 'lobby'?" in warning
    assert (await shop.api.ok("GET", "/v1/policies/typo/1"))["warnings"] == [warning]
    async with shop.another(catalog_poll_ms=60_000) as slow:  # it asks for placements that others made
        await place(shop, "loby")
        assert (await slow.ok("POST", "/v1/policies", json=spec))["warnings"] == []
    assert (await shop.api.ok("GET", "/v1/policies/typo/1"))["warnings"] == []
    assert (await shop.api.ok("GET", "/v1/policies/thompson/1"))["warnings"] == []


async def test_names_of_ours_are_taken(shop: Nextbest) -> None:
    for name in ("thompson", "calibrated", "caller", "history"):
        problem_of(await shop.api.call("POST", "/v1/policies", json=SPEC | {"name": name}), 409)
    for change in ("retire", "revive"):
        problem_of(await shop.api.call("POST", f"/v1/policies/thompson/1/{change}"), 409)
    problem_of(await shop.api.call("GET", "/v1/policies/nobody/1"), 404)
    problem_of(await shop.api.call("GET", "/v1/policies/nobody"), 404)


async def test_from_shadow_to_champion_and_back(shop: Nextbest) -> None:
    api = shop.api
    await place(shop, "life")
    key = await register(shop, "walker")
    assert (await stages(api, "life"))["thompson@1"] == "champion"
    refused = await api.call("POST", "/v1/placements/life/policies", json={"policy": key, "stage": "canary"})
    assert "possible: shadow" in problem_of(refused, 409)["detail"]
    await stage(api, "life", key, "shadow", reason="first look")
    grown = await stage(api, "life", key, "canary", share=0.3)
    since = next(one["since"] for one in grown["policies"] if one["policy"] == key)
    grown = await stage(api, "life", "walker", "canary", version=1, share=0.6)
    shown = next(one for one in grown["policies"] if one["policy"] == key)
    assert (shown["stage"], shown["share"], shown["since"]) == ("canary", 0.6, since)
    decided = [await decide(api, f"c{n}", "life") for n in range(40)]
    by = {answer["policy"]["name"] for answer in decided}
    assert by == {"thompson", "walker"}
    done = await stage(api, "life", key, "champion", reason="better")
    assert (done["champion"], done["before"]) == (key, ["thompson@1"])
    assert {(await decide(api, f"c{n}", "life"))["policy"]["name"] for n in range(10)} == {"walker"}
    used = problem_of(await api.call("POST", "/v1/policies/walker/1/retire"), 409)
    assert "life" in used["detail"]
    back = "/v1/placements/life/policies/rollback"
    done = await api.ok("POST", back, json={"reason": "complaints"}, role="ops")
    assert done["champion"] == "thompson@1"
    assert "nothing to go back to" in problem_of(await api.call("POST", back, json={}), 409)["detail"]
    trail = await api.ok("GET", "/v1/catalog", params={"kind": "deployment", "id": "life"})
    assert [(entry["author"], entry["reason"]) for entry in trail] == [
        ("test ops", "complaints"),
        ("test scientist", "better"),
        ("test scientist", ""),
        ("test scientist", ""),
        ("test scientist", "first look"),
    ]
    assert any(d["path"] == "deployments.life.champion" for d in trail[0]["differences"])


async def test_a_policy_that_has_just_become_warm_decides_at_once(shop: Nextbest) -> None:
    async with shop.another(catalog_poll_ms=60_000) as slow:  # what changes behind its back it has to ask for
        await slow.ok("PUT", "/v1/placements/hasty", json=PLACE)
        made = await slow.ok("POST", "/v1/policies", json={"name": "hasty", "algorithm": "thompson"})
        assert made["state"] == "registered"
        await stage(slow, "hasty", "hasty@1", "shadow")
        await shop.worker.warm()
        await stage(slow, "hasty", "hasty@1", "champion", force=True)
        answer = await decide(slow, "first", "hasty")
        assert (answer["policy"]["name"], answer["degraded"]) == ("hasty", [])


async def test_whoever_changes_the_catalogue_knows_the_champions_of_others(shop: Nextbest) -> None:
    await place(shop, "theirs")
    async with shop.another(catalog_poll_ms=60_000) as slow:
        key = await register(shop, "theirs")
        await stage(shop.api, "theirs", key, "champion", force=True)
        await put_offer(slow, "copper")
        answer = await decide(slow, "first", "theirs")
        assert (answer["policy"]["name"], answer["degraded"]) == ("theirs", [])


async def test_who_decides_must_be_warm(shop: Nextbest) -> None:
    key = await register(shop, "cold", warm=False)
    await place(shop, "chilly")
    await stage(shop.api, "chilly", key, "shadow")
    for to in ("canary", "champion"):
        body = {"policy": key, "stage": to, "force": True}
        refused = await shop.api.call("POST", "/v1/placements/chilly/policies", json=body)
        assert "warm start" in problem_of(refused, 409)["detail"]
    await shop.worker.warm()
    await stage(shop.api, "chilly", key, "canary")


async def test_what_cannot_be_staged(shop: Nextbest) -> None:
    await place(shop, "strict")
    path = "/v1/placements/strict/policies"

    async def refused(status: int, field: str | None = None, **body: Any) -> str:
        answer = await shop.api.call("POST", path, json={"stage": "shadow"} | body)
        return str(problem_of(answer, status, field)["detail"])

    await refused(404, policy="nobody@1")
    await refused(422, "version", policy="thompson")
    await refused(422, "version", policy="random@1", version=2)
    await refused(422, "share", policy="random@1", share=0.5)
    await refused(422, "stage", policy="random@1", stage="registered")
    await refused(409, policy="thompson@1", stage="retired")
    problem_of(await shop.api.call("GET", "/v1/placements/nowhere/policies"), 404)
    body = {"policy": "random@1", "stage": "shadow"}
    problem_of(await shop.api.call("POST", "/v1/placements/nowhere/policies", json=body), 404)


async def test_two_people_at_once(shop: Nextbest) -> None:
    await place(shop, "busy")
    path = "/v1/placements/busy/policies"
    tag = (await shop.api.call("GET", path)).headers["ETag"]
    assert tag == '"0"'
    body = {"policy": "random@1", "stage": "shadow"}
    first = await shop.api.call("POST", path, json=body, headers={"If-Match": tag})
    assert first.status_code == 200
    assert first.headers["ETag"] != tag
    other = {"policy": "propensity@1", "stage": "shadow"}
    problem_of(await shop.api.call("POST", path, json=other, headers={"If-Match": tag}), 412)
    await stage(shop.api, "busy", "propensity@1", "shadow")
    assert (await stages(shop.api, "busy"))["random@1"] == "shadow"


async def test_shares_of_groups(shop: Nextbest) -> None:
    await place(shop, "shared", control_share=0.2)
    path = "/v1/placements/shared"
    groups = [{"kind": "random", "share": 0.1}, {"kind": "no_levers", "share": 0.1}]
    done = await shop.api.ok("PUT", f"{path}/controls", json={"controls": groups}, role="scientist")
    assert done["controls"] == groups
    await stage(shop.api, "shared", "random@1", "canary", share=0.6, force=True)
    more = {"controls": [{"kind": "random", "share": 0.5}]}
    problem_of(await shop.api.call("PUT", f"{path}/controls", json=more), 422, "controls")
    body = {"channel": "web", "control_share": 0.3}
    problem_of(await shop.api.call("PUT", path, json=body), 422, "control_share")
    done = await shop.api.ok("PUT", f"{path}/apprentice", json={"on": True})
    assert done["apprentice"]
    done = await shop.api.ok("PUT", f"{path}/guardrails", json={"margin": 0.02})
    assert done["guardrails"]["margin"] == 0.02
    done = await shop.api.ok("PATCH", f"{path}/guardrails", json={"alpha": 0.05})
    assert (done["guardrails"]["margin"], done["guardrails"]["alpha"]) == (0.02, 0.05)
    done = await shop.api.ok("PATCH", f"{path}/guardrails", json={"margin": None})
    assert (done["guardrails"]["margin"], done["guardrails"]["alpha"]) == (0.0, 0.05)
    problem_of(await shop.api.call("PATCH", f"{path}/guardrails", json={"margins": 1}), 422, "margins")
    assert (await shop.api.call("PATCH", f"{path}/autopilot", json={"min_days": 3})).status_code == 404


async def test_a_deleted_placement_takes_its_policies_along(shop: Nextbest) -> None:
    await place(shop, "gone")
    key = await register(shop, "leaver")
    await stage(shop.api, "gone", key, "shadow")
    await shop.api.ok("DELETE", "/v1/placements/gone")
    problem_of(await shop.api.call("GET", "/v1/placements/gone/policies"), 404)
    await shop.api.ok("POST", "/v1/policies/leaver/1/retire")
    await place(shop, "gone")
    assert key not in await stages(shop.api, "gone")


async def test_who_retires_and_revives_says_why(shop: Nextbest) -> None:
    key = await register(shop, "comes-and-goes")
    assert (await shop.api.ok("GET", "/v1/policies/comes-and-goes/1"))["changes"] == []
    steps: list[tuple[str, str, Role, str]] = [
        ("POST", "/retire", "scientist", "no good"),
        ("POST", "/retire", "admin", "retired already: no change"),
        ("POST", "/revive", "admin", "better than we thought"),
        ("POST", "/revive", "scientist", "revived already: no change"),
        ("DELETE", "", "scientist", ""),
    ]
    for method, path, role, reason in steps:
        headers = {"X-Reason": reason} if reason else {}
        answer = await shop.api.ok(method, f"/v1/policies/comes-and-goes/1{path}", role=role, headers=headers)
    found = [(one["change"], one["author"], one["reason"]) for one in answer["changes"]]
    assert found == [
        ("retired", "test scientist", ""),
        ("revived", "test admin", "better than we thought"),
        ("retired", "test scientist", "no good"),
    ]
    times = [one["changed_at"] for one in answer["changes"]]
    assert times == sorted(times, reverse=True)
    assert answer["changes"][0]["changed_at"] == answer["retired_at"]
    assert (answer["author"], answer["reason"]) == ("test admin", "")
    every = {one["policy"]: one for one in await shop.api.ok("GET", "/v1/policies", role="ops")}
    assert every[key] == answer
    assert every["thompson@1"]["changes"] == []
    long = await shop.api.call(
        "POST", "/v1/policies/comes-and-goes/1/revive", headers={"X-Reason": "x" * 501}
    )
    problem_of(long, 422, "x-reason")
    assert (await shop.api.ok("GET", "/v1/policies/comes-and-goes/1")) == answer


async def test_a_retired_policy_leaves_its_decisions_behind(shop: Nextbest) -> None:
    api, state = shop.api, shop.api.state
    await place(shop, "old")
    key = await register(shop, "veteran")

    async def followed() -> bool:
        return state.replica.epoch(key) is not None

    await eventually(followed, "the instance to follow the policy")
    await stage(api, "old", key, "champion", force=True)
    for number in range(12):
        answer = await decide(api, f"old-{number}", "old")
        assert answer["policy"]["name"] == "veteran"
        await tell(api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
        await shop.worker.learn()

    async def fresh() -> bool:
        return state.replica.epoch(key) == await shop.worker.epoch(key)

    await eventually(fresh, "the instance to follow what was learned")
    last = (await decide(api, "old-last", "old"))["decision_id"]
    await shop.worker.drain()
    await api.ok("POST", "/v1/placements/old/policies/rollback", json={})
    retired = await api.ok("POST", "/v1/policies/veteran/1/retire")
    assert (retired["state"], retired["retired_at"] is None) == ("retired", False)
    arms = ArmStore(state.redis, state.keys)
    assert await arms.load_epoch(key) is not None
    await shop.worker.learn()
    await shop.worker.archive()
    assert await arms.load_epoch(key) is None
    again = await replay(last, state.archive, state.catalogues, state.roster)
    assert again.identical
    assert again.epoch > 0
    refused = {"policy": key, "stage": "shadow"}
    problem_of(await api.call("POST", "/v1/placements/old/policies", json=refused), 409)
    assert (await api.ok("POST", "/v1/policies/veteran/1/revive"))["state"] == "registered"
    await shop.worker.warm()
    await shop.worker.drain()
    built_in = await arms.load("thompson@1")
    revived = await arms.load(key)
    assert built_in is not None
    assert revived is not None
    assert revived.fields == built_in.fields
    assert (await replay(last, state.archive, state.catalogues, state.roster)).identical


async def test_a_policy_that_cannot_be_built_here_harms_nobody(shop: Nextbest) -> None:
    state = shop.api.state
    async with state.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO policies (name, version, spec, author) VALUES ('alien', 1,"
                """ '{"name": "alien", "version": 1, "algorithm": "from_elsewhere"}', 'somebody')"""
            )
        )

    async def shown() -> Any:
        found = await shop.api.ok("GET", "/v1/policies/alien/1")
        return found if found["unusable"] else None

    assert "from_elsewhere" in (await eventually(shown, "the policy to be shown as unusable"))["unusable"]
    await shop.worker.warm()
    failed = await shop.api.ok("GET", "/v1/policies/alien/1")
    assert failed["state"] == "failed"
    assert "from_elsewhere" in failed["error"]
    await put_offer(shop.api, "bronze")
    assert (await decide(shop.api, "calm", "home"))["degraded"] == []
    assert (await shop.api.call("GET", "/readyz", role=None)).status_code == 200


async def test_features_auto_are_chosen_of_the_vocabulary_and_frozen(shop: Nextbest) -> None:
    attribute = {"type": "int", "description": "of the contract, in years"}
    await shop.api.ok("PUT", "/v1/attributes/customer.tenure_years", json=attribute)
    asked = {"name": "automatic", "algorithm": "calibrated", "features": "auto"}
    first = await shop.api.ok("POST", "/v1/policies", json=asked)
    assert first["spec"]["auto"] is True
    assert "customer.tenure_years" in {feature.get("path") for feature in first["spec"]["features"]}
    # What was chosen can be registered as it is shown.
    assert (await shop.api.call("POST", "/v1/policies", json=first["spec"])).status_code == 200
    await shop.api.ok("PUT", "/v1/attributes/context.page_group", json={"type": "string"})
    second = await shop.api.ok("POST", "/v1/policies", content=yaml.safe_dump(asked), headers=YAML)
    assert second["policy"] == "automatic@2"
    paths = {feature.get("path") for feature in second["spec"]["features"]}
    assert paths >= {"customer.tenure_years", "context.page_group"}
    assert (await shop.api.ok("GET", "/v1/policies/automatic/1"))["spec"] == first["spec"]


async def test_features_auto_are_refused_by_algorithms_without_features(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/attributes/customer.tenure_years", json={"type": "int"})
    asked = {"name": "without", "algorithm": "thompson", "features": "auto"}
    problem_of(await shop.api.call("POST", "/v1/policies", json=asked), 422, "features")
