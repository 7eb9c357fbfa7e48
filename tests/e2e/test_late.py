"""Feedback that comes late, twice, or against what was said before."""

import time
from typing import Any

import pytest

from tests.support.installation import Api, Installation, place, publish
from tests.support.truth import Stores, check_arms, check_roll_ups, look, wait_caught_up
from tests.support.waiting import wait_until

OFFERS = ("alpha", "beta")


@pytest.fixture(scope="module")
def api(installation: Installation) -> Api:
    api = installation.serve()
    installation.work()
    api.wait()
    publish(api, OFFERS)
    place(api, slots=2)
    place(api, "short", slots=2, reward_window_s=1)
    return api


def refused(api: Api, decision: Any, offer_id: str, outcome: str) -> int:
    """The status of feedback that is not taken, the same alone and in a batch."""
    body = {"decision_id": decision["decision_id"], "offer_id": offer_id, "outcome": outcome}
    response = api.http.post("/v1/feedback", json=body)
    (item,) = api.ok("POST", "/v1/feedback/batch", {"items": [body]})["items"]
    assert item["status"] == "refused"
    assert item["code"] == response.status_code
    assert item["reason"]
    return response.status_code


def outcomes_of(installation: Installation, decision: Any) -> list[Any]:
    """The archived outcomes of a decision: offer, outcome, whether late, reward."""

    async def read(found: Stores) -> list[Any]:
        outcomes = await found.archive.outcomes(decision["decision_id"])
        told = [o for o in outcomes if o.outcome not in ("shown", "closed")]
        return sorted((o.offer_id, o.outcome, o.late, o.reward) for o in told)

    wait_caught_up(installation)
    return look(installation, read)


def closed(api: Api, installation: Installation, placement: str = "short") -> Any:
    """A decision whose window is over and which has been closed."""
    decision = api.decide("customer", placement)
    wait_until(lambda: len(outcomes_of(installation, decision)) == len(OFFERS), "the window to be closed")
    return decision


def test_after_the_window_it_is_logged_and_not_learned_from(api: Api, installation: Installation) -> None:
    decision = closed(api, installation)
    before = look(installation, check_arms)
    assert api.feedback(decision["decision_id"], "alpha", "accepted") == "late"
    assert api.feedback(decision["decision_id"], "alpha", "accepted") == "duplicate"
    assert refused(api, decision, "alpha", "rejected") == 409
    expired = [("alpha", "expired", False, 0.0), ("beta", "expired", False, 0.0)]
    assert outcomes_of(installation, decision) == [("alpha", "accepted", True, None), *expired]
    after = look(installation, check_arms)
    assert after.fields == before.fields
    look(installation, check_roll_ups)


def test_an_outcome_of_after_the_window_that_is_told_in_time_is_late(
    api: Api, installation: Installation
) -> None:
    decision = api.decide("customer", "short")
    future = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    assert api.feedback(decision["decision_id"], "alpha", "accepted", occurred_at=future) == "late"


def test_after_the_decision_has_left_redis(api: Api, installation: Installation) -> None:
    decision = closed(api, installation)
    assert api.feedback(decision["decision_id"], "beta", "clicked") == "late"
    wait_caught_up(installation)

    async def forget(found: Stores) -> None:  # as Redis does after the grace
        assert await found.redis.delete(*[k async for k in found.redis.scan_iter("nb:*:decision:*")])

    look(installation, forget)
    arms = look(installation, check_arms)
    assert api.feedback(decision["decision_id"], "beta", "clicked") == "duplicate"
    statuses = [api.feedback(decision["decision_id"], "alpha", "accepted") for _ in range(3)]
    assert statuses == ["late", "duplicate", "duplicate"]
    assert len(outcomes_of(installation, decision)) == 4
    assert refused(api, decision, "alpha", "rejected") == 409
    assert refused(api, decision, "gamma", "accepted") == 422
    assert look(installation, check_arms).fields == arms.fields
    look(installation, check_roll_ups)


def test_an_open_decision_that_redis_lost_waits_for_the_rebuild(api: Api, installation: Installation) -> None:
    decision = api.decide("customer")
    assert api.feedback(decision["decision_id"], "beta", "accepted") == "recorded"
    wait_caught_up(installation)

    async def lose(found: Stores) -> None:
        bucket = found.keys.bucket("customer")
        assert await found.redis.delete(found.keys.decision(bucket, decision["decision_id"]))

    look(installation, lose)
    assert refused(api, decision, "alpha", "accepted") == 503
    assert "1 waiting decisions put back" in installation.command("rebuild")
    assert api.feedback(decision["decision_id"], "alpha", "accepted") == "recorded"
    assert api.feedback(decision["decision_id"], "beta", "accepted") == "duplicate"
    wait_caught_up(installation)
    look(installation, check_arms)


def test_the_first_answer_counts(api: Api, installation: Installation) -> None:
    decision = api.decide("customer")
    body = {"decision_id": decision["decision_id"], "offer_id": "alpha"}
    items = [
        {**body, "outcome": outcome}
        for outcome in ("rejected", "accepted", "rejected", "presented", "rejected")
    ]
    answers = api.ok("POST", "/v1/feedback/batch", {"items": items})["items"]
    assert [answer["code"] for answer in answers] == [200, 409, 200, 200, 200]
    assert [answer["status"] for answer in answers] == [
        "recorded",
        "refused",
        "duplicate",
        "recorded",
        "duplicate",
    ]
    assert outcomes_of(installation, decision) == [
        ("alpha", "presented", False, None),
        ("alpha", "rejected", False, 0.0),
    ]


def test_what_was_never_decided_is_refused(api: Api) -> None:
    decision = api.decide("customer", limit=1)
    other = next(o for o in OFFERS if o != decision["offers"][0]["offer_id"])
    assert refused(api, decision, other, "accepted") == 422
    assert refused(api, {"decision_id": "nb001-" + "0" * 32}, "alpha", "accepted") == 404
    assert refused(api, {"decision_id": "nbfff-" + "0" * 32}, "alpha", "accepted") == 404
    assert refused(api, {"decision_id": "never-heard-of"}, "alpha", "accepted") == 404
