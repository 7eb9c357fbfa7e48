"""Policies from ONNX files over HTTP: registered, shown by hash, deciding, corrected by ``calibrated``, replayed."""

from hashlib import sha256
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from decisioning.evaluation.replay_service import replay
from tests.support.api import Nextbest, decide, problem_of, tell
from tests.support.canaries import Crowd, counted, deploy, deployed, guard_of, in_force, place, trail
from tests.support.onnx_models import logistic_file, text_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = logistic_file([0.05, 2.0, -2.0], -3.0)
FEATURES: list[dict[str, Any]] = [
    {"name": "age", "kind": "numeric", "path": "context.age", "low": 0, "high": 120, "default": 40}
]
WHICH = [{"name": "which", "attribute": "offer_id", "values": ["silver", "gold"]}]
SPEC: dict[str, Any] = {
    "name": "mine",
    "algorithm": "onnx",
    "parameters": {"model": text_of(FILE), "offer_features": WHICH, "epsilon": 0.01},
    "features": FEATURES,
}
PLACE = {"channel": "web", "policy": "thompson", "control_share": 0, "deadline_ms": 5000}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def models(shop: Nextbest) -> Nextbest:
    """An installation in which the model file is registered."""
    await shop.api.ok("POST", "/v1/policies", json=SPEC)
    return shop


async def champion(models: Nextbest, placement: str, policy: str) -> None:
    """A placement in which the policy decides."""
    await models.api.ok("PUT", f"/v1/placements/{placement}", json=PLACE)
    body = {"policy": policy, "stage": "champion", "force": True}
    await models.api.ok("POST", f"/v1/placements/{placement}/policies", json=body, role="scientist")


def propensities(answer: Any) -> dict[str, float]:
    """What the policy expected of each offer that it might have chosen."""
    return {one["offer_id"]: one["factors"]["P"] for one in answer["explanation"] if "factors" in one}


async def test_a_file_is_shown_by_its_hash_and_can_be_sent_so_again(models: Nextbest) -> None:
    found = await models.api.ok("GET", "/v1/policies/mine/1")
    shown = found["spec"]
    assert (found["state"], found["unusable"]) == ("live", None)
    assert shown["parameters"]["model"] == f"sha256:{sha256(FILE).hexdigest()}"
    frozen = {attributes["offer_id"] for attributes in shown["parameters"]["offers"].values()}
    assert {"silver", "gold"} <= frozen
    again = await models.api.call("POST", "/v1/policies", json=shown, role="scientist")
    assert (again.status_code, again.json()["policy"]) == (200, "mine@1")
    other = {name: value for name, value in shown.items() if name != "version"}
    other["parameters"] = {**shown["parameters"], "epsilon": 0.5}
    assert (await models.api.ok("POST", "/v1/policies", json=other))["policy"] == "mine@2"


async def test_it_decides_with_what_the_model_says_and_is_replayed(models: Nextbest) -> None:
    await champion(models, "modelled", "mine@1")
    answer = await decide(models.api, "ann", "modelled", context={"age": 60}, explain=True)
    assert (answer["policy"], answer["degraded"]) == ({"name": "mine", "version": 1}, [])
    said = propensities(answer)
    assert said["silver"] == pytest.approx(0.8808, abs=1e-4)  # 0.05 x 60 + 2 - 3
    assert said["gold"] == pytest.approx(0.1192, abs=1e-4)
    await models.worker.drain()
    state = models.api.state
    found = await replay(answer["decision_id"], state.archive, state.catalogues, state.roster)
    assert found.identical


async def test_a_model_goes_from_shadow_to_canary_to_champion(models: Nextbest) -> None:
    await place(models.api, "stages", policy="thompson")
    path, state = "/v1/placements/stages/policies", models.api.state

    async def stage(name: str, **more: Any) -> None:
        body = {"policy": "mine@1", "stage": name, "force": True} | more
        await models.api.ok("POST", path, json=body, role="scientist")

    await models.worker.shadow()
    await stage("shadow")
    crowd = Crowd(models, "stages", 3, thompson=0.5, mine=0.5)
    await crowd.come(8)
    await models.worker.shadow()
    query = text("SELECT policy, error, unusable, chance FROM shadow_choices WHERE placement = 'stages'")
    async with state.engine.connect() as connection:
        shadowed = list(await connection.execute(query))
    assert [(row.policy, row.error, row.unusable) for row in shadowed] == [("mine@1", None, None)] * 8
    assert all(0.0 < row.chance < 1.0 for row in shadowed)  # it explores

    await stage("canary", share=0.5)
    by_model = [a for a in await crowd.come(16) if a["policy"] == {"name": "mine", "version": 1}]
    assert 0 < len(by_model) < 16
    assert all(answer["degraded"] == [] for answer in by_model)
    for answer in by_model:
        found = await replay(answer["decision_id"], state.archive, state.catalogues, state.roster)
        assert found.identical
    await guard_of(models).round()
    test = await counted(models, "stages")
    assert (test.cause, test.canary.decisions, test.canary.failures) == (None, len(by_model), 0)

    await stage("champion")
    assert {answer["policy"]["name"] for answer in await crowd.come(4)} == {"mine"}


async def test_a_model_that_is_worse_than_the_champion_is_rolled_back(models: Nextbest) -> None:
    await place(models.api, "mistaken")
    await deploy(models, "mistaken", "mine@1")
    crowd, guard = Crowd(models, "mistaken", 7, thompson=0.95, mine=0.05), guard_of(models)
    for _ in range(10):
        await crowd.come(10)
        await guard.round()
        version, body = await deployed(models, "mistaken")
        if body["canary"] is None:
            break
    assert body["was"] == ["mine@1"]
    assert "canary mine@1 rolled back: it is worse" in (await trail(models, "mistaken"))["reason"]
    await in_force(models.api, version)
    assert {answer["policy"]["name"] for answer in await crowd.come(4)} == {"thompson"}


async def test_calibrated_corrects_what_a_model_says(models: Nextbest) -> None:
    named = {"name": "corrected", "algorithm": "calibrated", "propensity_source": "mine@1"}
    body = {**named, "placements": ["corrected"]}
    made = await models.api.ok("POST", "/v1/policies", json=body)
    assert made["spec"]["propensity_source"] == "mine@1"
    assert (await models.api.call("POST", "/v1/policies", json=body)).status_code == 200
    await models.worker.warm()
    await champion(models, "corrected", "corrected@1")
    before = await decide(models.api, "ann", "corrected", context={"age": 60}, explain=True)
    said = propensities(before)
    assert said["silver"] == pytest.approx(0.8808, abs=1e-3)  # nothing learned yet: as the model says
    for number in range(60):
        answer = await decide(models.api, f"customer-{number}", "corrected", context={"age": 60})
        for offer in answer["offers"]:
            await tell(models.api, answer["decision_id"], offer["offer_id"], "rejected")

    await models.worker.drain()

    async def learned() -> bool:
        now = await decide(models.api, "ann", "corrected", context={"age": 60}, explain=True)
        said = propensities(now)
        return bool(said["silver"] < 0.5)

    await eventually(learned, "the model's propensity to be corrected")


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"parameters": {}}, "parameters.model", "as base64"),
        ({"parameters": {"model": f"sha256:{'0' * 64}"}}, "parameters.model", "send the file"),
        ({"parameters": {"model": text_of(b"no model")}}, "parameters.model", "no model that can be run"),
        ({"features": []}, "parameters.inputs", "has 3 columns, and its features make 2"),
        (
            {"algorithm": "calibrated", "propensity_source": "thompson@1"},
            "propensity_source",
            "no registered policy",
        ),
        ({"algorithm": "calibrated", "propensity_source": "mine"}, "propensity_source", "name@version"),
    ],
)
async def test_what_does_not_fit_is_refused_with_the_reason(
    models: Nextbest, change: dict[str, Any], field: str, said: str
) -> None:
    body = {**SPEC, "name": "wrong", **change}
    found = problem_of(await models.api.call("POST", "/v1/policies", json=body, role="scientist"), 422)
    assert found["errors"][0]["field"] == field
    assert said in found["errors"][0]["reason"]


async def test_it_can_be_evaluated_before_it_is_registered(models: Nextbest) -> None:
    await models.api.ok("PUT", "/v1/placements/tried", json=PLACE)
    body = {"spec": {key: value for key, value in SPEC.items() if key != "name"}, "placement": "tried"}
    asked = await models.api.call("POST", "/v1/evaluations", json=body, role="scientist")
    assert asked.status_code == 201
