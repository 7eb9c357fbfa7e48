"""Policies beside the champion, and what is read of them: against a stand-in for the service."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from bandits.registry import build_policy
from bandits.specification import parse_spec
from demo import rollout
from demo.client import ApiClient, DemoError
from demo.names import CANARY, SHADOW
from demo.steering import VOCABULARY


class Rollout:
    """Policies become live after so many looks at each."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.left: dict[str, int] = {}
        self.sent: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "GET":
            name = path.split("/")[3]
            self.left[name] = self.left.get(name, self.looks) - 1
            return httpx.Response(200, json={"state": "folding" if self.left[name] > 0 else "live"})
        self.sent.append((path, json.loads(request.content)))
        return httpx.Response(200, json={})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self), base_url="http://demo.test")


async def test_both_are_staged_once_they_are_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "POLL_S", 0.001)
    service, checks = Rollout(looks=3), list[int]()
    async with service.client() as http:
        await rollout.stage(ApiClient(http), lambda: checks.append(len(service.sent)))
    assert checks == [0] * 4, "nothing is staged while one of them is not live"
    stages = [(body["policy"], body["stage"], body.get("share")) for _, body in service.sent]
    assert stages == [
        (f"{SHADOW}@1", "shadow", None),
        (f"{CANARY}@1", "shadow", None),
        (f"{CANARY}@1", "canary", rollout.CANARY_SHARE),
    ]
    assert {path for path, _ in service.sent} == {"/v1/placements/web-home/policies"}


async def test_one_that_does_not_become_live_ends_the_set_up_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rollout, "LIVE_TIMEOUT_S", -1.0)
    async with Rollout(looks=10).client() as http:
        with pytest.raises(DemoError, match=f"{SHADOW} is not live but folding"):
            await rollout.stage(ApiClient(http), lambda: None)


async def test_they_are_registered_as_policies_that_know_the_declared_facts() -> None:
    service = Rollout(looks=1)
    async with service.client() as http:
        await rollout.register(ApiClient(http))
    assert [body["name"] for _, body in service.sent] == [SHADOW, CANARY]
    declared = {path for path, *_ in VOCABULARY}
    for specification in rollout.specifications():
        build_policy(parse_spec(specification | {"version": 1}))
        for feature in specification.get("features", ()):
            assert feature.get("path", "context.page") in declared


async def test_the_shadow_is_evaluated_once_there_is_something_to_judge_it_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, stop = Rollout(looks=1), asyncio.Event()
    async with service.client() as http:
        waiting = asyncio.create_task(rollout.ask_evaluation(ApiClient(http), stop))
        await asyncio.sleep(0)
        stop.set()
        await waiting
        assert service.sent == [], "visitors were gone before"
        monkeypatch.setattr(rollout, "EVALUATE_AFTER_S", 0.001)
        await rollout.ask_evaluation(ApiClient(http), asyncio.Event())
    ((path, body),) = service.sent
    assert (path, body["policy"], body["placement"]) == ("/v1/evaluations", f"{SHADOW}@1", "web-home")
