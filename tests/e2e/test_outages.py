"""Invariant 4: consent fails closed, ranking fails open and in time; one test for each row of the failure table."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from app.embedded.servers import EmbeddedServers
from tests.support.installation import Api, Installation, hardy_servers, installed, place, publish
from tests.support.outages import How, postgres_down, redis_down
from tests.support.truth import Stores, check_arms, look, wait_caught_up
from tests.support.waiting import wait_until

AGREED = {"consents": {"marketing": ["web"]}}
BOTH: tuple[How, ...] = ("gone", "silent")
IN_TIME_S = 8.0


@dataclass
class World:
    """One API and one worker on servers that these tests take down and bring back."""

    servers: EmbeddedServers
    installation: Installation
    api: Api

    def offers(self, answer: Any) -> set[str]:
        """The offers of an answer."""
        return {offer["offer_id"] for offer in answer["offers"]}

    def ask(self, customer_id: str, placement: str = "web") -> tuple[set[str], Any]:
        """A decision must come in time, with status 200, whatever is down."""
        started = time.monotonic()
        answer = self.api.decide(customer_id, placement)
        assert time.monotonic() - started < IN_TIME_S
        return self.offers(answer), answer

    def refused(self, decision: Any) -> None:
        """Feedback is refused in words, to be sent again later."""
        body = {"decision_id": decision["decision_id"], "offer_id": decision["offers"][0]["offer_id"]}
        response = self.api.http.post("/v1/feedback", json={**body, "outcome": "accepted"})
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["Content-Type"] == "application/problem+json"
        batch = self.api.ok("POST", "/v1/feedback/batch", {"items": [{**body, "outcome": "accepted"}]})
        assert [item["code"] for item in batch["items"]] == [503]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("installation")
    # Less than IN_TIME_S, and longer than a busy machine keeps a write waiting that must be on disk: one that is
    # taken for silent in between would be another test.
    with hardy_servers() as servers, installed(*servers.urls, folder, redis_stall_ms=2_000) as installation:
        api = installation.serve()
        installation.work()
        api.wait()
        publish(api, ["open"])
        publish(api, ["private"], consent="marketing")
        publish(api, ["limited"], limits=[{"max": 1000, "window_s": 3600}])
        defaults = ["private", "limited", "open"]
        place(api, slots=3, default_offers=defaults)
        place(api, "lenient", slots=3, without_history="allow")
        place(api, "quick", slots=3, default_offers=defaults, deadline_ms=100)
        for customer_id in ("cached", "uncached-1", "uncached-2", "uncached-3", "regrets"):
            api.ok("PUT", f"/v1/customers/{customer_id}", AGREED)
        yield World(servers, installation, api)


@pytest.fixture(autouse=True)
def well_again(world: World) -> Iterator[None]:
    """Before and after each test all is well, and the cached customer is in the cache."""
    world.api.wait()
    look(world.installation, forget_profile)  # what marks a change of it as well
    wait_until(lambda: world.ask("cached")[1]["degraded"] == [], "decisions that are not degraded")
    wait_until(lambda: look(world.installation, cached_profile), "the profile to be cached")
    assert world.ask("cached")[0] == {"open", "private", "limited"}
    yield
    world.api.wait()
    wait_caught_up(world.installation)
    look(world.installation, check_arms)


async def forget_profile(found: Stores) -> None:
    """Make room in the cache."""
    await found.redis.delete(found.keys.profile("cached"))


async def cached_profile(found: Stores) -> bool:
    """True if the profile is in the cache."""
    return bool(await found.redis.exists(found.keys.profile("cached")))


@pytest.mark.parametrize("how", BOTH)
def test_invariant_4_without_redis(world: World, how: How) -> None:
    _, before = world.ask("cached")
    made = []
    with redis_down(world.servers, how):
        for customer_id, expected in (
            ("cached", {"open", "private"}),
            ("uncached-1", {"open", "private"}),
            ("stranger", {"open"}),
        ):
            offers, answer = world.ask(customer_id)
            assert offers == expected
            assert answer["degraded"] == ["contact_history_unavailable"]
            assert answer["feedback_until"] is None
            assert answer["policy"]["name"] == "calibrated"  # with the arms in memory
            made.append(answer["decision_id"])
        assert world.ask("cached", "lenient")[0] == {"open", "private", "limited"}
        world.refused(before)
    world.api.wait()
    assert world.api.feedback(before["decision_id"], "open", "accepted") == "recorded"
    wait_caught_up(world.installation)
    for decision_id in made:  # what was decided without Redis is not logged, so it is not learned from
        assert world.api.http.get(f"/v1/decisions/{decision_id}").status_code == 404


@pytest.mark.parametrize("how", BOTH)
def test_invariant_4_without_postgres(world: World, how: How) -> None:
    world.api.ok("PATCH", "/v1/customers/regrets", {"consents": {"marketing": None}})
    with postgres_down(world.servers, how):
        offers, known = world.ask("cached")
        assert offers == {"open", "private", "limited"}
        assert known["degraded"] == []
        for customer_id in ("uncached-2", "regrets"):
            offers, unknown = world.ask(customer_id)
            assert offers == {"open", "limited"}
            assert unknown["degraded"] == ["profile_unavailable"]
        for decision in (known, unknown):  # the log waits in Redis
            assert world.api.feedback(decision["decision_id"], "open", "accepted") == "recorded"
    world.api.wait()
    wait_caught_up(world.installation)
    record = world.api.ok("GET", f"/v1/decisions/{unknown['decision_id']}")
    assert record["archived"] is True
    assert [outcome["outcome"] for outcome in record["outcomes"]] == ["accepted"]


@pytest.mark.parametrize("how", BOTH)
def test_invariant_4_without_both(world: World, how: How) -> None:
    _, before = world.ask("cached")
    with ExitStack() as down:
        down.enter_context(postgres_down(world.servers, how))
        down.enter_context(redis_down(world.servers, how))
        for customer_id in ("cached", "uncached-3", "stranger")[: 3 if how == "gone" else 1]:
            offers, answer = world.ask(customer_id)
            assert offers == {"open"}  # of the defaults those that need neither consent nor contact history
            assert answer["degraded"] == ["contact_history_unavailable", "profile_unavailable"]
            assert answer["policy"]["name"] == "default"
            assert answer["feedback_until"] is None
        world.refused(before)


def test_invariant_4_after_the_deadline(world: World) -> None:
    with postgres_down(world.servers, "silent"):
        offers, answer = world.ask("somebody-new", "quick")
        assert offers == {"open"}
        assert answer["degraded"] == ["deadline_exceeded"]
    with redis_down(world.servers, "silent"):
        offers, answer = world.ask("cached", "quick")
        assert offers == {"open"}
        assert answer["degraded"] == ["deadline_exceeded"]


def test_invariant_4_a_process_started_without_redis_answers(world: World) -> None:
    with redis_down(world.servers, "gone"):
        # It answers before it has read the catalogue, if that takes long.
        late = world.installation.serve().wait("/v1/placements/web")
        answer = wait_until(lambda: late.decide("cached"), "an answer without Redis")
        assert world.offers(answer) == {"open", "private"}
        assert "arms_unavailable" in answer["degraded"]
        assert answer["policy"]["name"] == "propensity"
    late.wait()
    wait_until(lambda: late.decide("cached")["degraded"] == [], "decisions that are not degraded")
    late.process.kill()
