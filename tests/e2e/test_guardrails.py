"""A canary of half the acceptance in a running installation: two workers look at it, and it is taken back once."""

import asyncio
from random import Random
from typing import Any

from decisioning.catalog.store import CatalogueStore
from storage import clock
from storage.postgres import make_engine
from tests.support.installation import Api, Installation, place, publish
from tests.support.waiting import wait_until

GUARDRAILS = {"alpha": 0.05, "horizon_s": 60}


async def deploy(installation: Installation, body: dict[str, Any]) -> int:
    """Put the deployment of the placement ``web``; returns the version it is in force at."""
    engine = make_engine(installation.postgres_url, pool_size=1)
    try:
        return (await CatalogueStore(engine).put("deployment", "web", body, "tests")).version
    finally:
        await engine.dispose()


def trail(api: Api) -> list[Any]:
    """The audit trail of the deployment, newest first."""
    found: list[Any] = api.ok("GET", "/v1/catalog?kind=deployment&id=web")
    return found


def test_a_bad_canary_is_rolled_back_by_itself(installation: Installation) -> None:
    api = installation.serve()
    installation.work("work-1", guard_interval_ms=50)
    installation.work("work-2", guard_interval_ms=50)
    api.wait()
    publish(api, ["gold", "silver"])
    place(api)
    canary = {"policy": "random@1", "share": 0.5, "since_ms": clock.now_ms()}
    asyncio.run(deploy(installation, {"champion": "thompson@1", "canary": canary, "guardrails": GUARDRAILS}))
    random, served = Random(3), 0
    rates = {"thompson": 0.8, "random": 0.4}

    def rolled_back() -> bool:
        nonlocal served
        for _ in range(10):
            served += 1
            answer = api.decide(f"customer-{served}")
            assert len(answer["offers"]) == 1
            assert answer["degraded"] == []
            liked = random.random() < rates.get(answer["policy"]["name"], 0.8)
            offer_id = answer["offers"][0]["offer_id"]
            status = api.feedback(answer["decision_id"], offer_id, "accepted" if liked else "rejected")
            assert status == "recorded"
        return len(trail(api)) > 1

    wait_until(rolled_back, "the canary to be rolled back", timeout_s=180)
    newest, first = trail(api)
    assert (newest["author"], first["author"]) == ("guardrails", "tests")
    assert "worse than the champion" in newest["reason"]

    def decided_by(customers: str) -> set[str]:
        return {api.decide(f"{customers}-{n}")["policy"]["name"] for n in range(20)}

    # One customer tells nothing: half of them were the champion's before.
    wait_until(lambda: decided_by(f"after-{random.random()}") == {"thompson"}, "the champion to decide")
    assert decided_by("late") == {"thompson"}
    assert len(trail(api)) == 2
