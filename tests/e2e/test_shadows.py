"""Shadows and evaluations as users have them: an API, a worker, and a policy that decides for nobody."""

from typing import Any

from tests.support.installation import Installation, place, publish
from tests.support.waiting import wait_until


def test_a_policy_is_seen_in_the_shadow_and_offline_before_it_decides(installation: Installation) -> None:
    api = installation.serve()
    worker = installation.work()
    api.wait()
    publish(api, ("alpha", "beta", "gamma"))
    place(api, policy="random", reward_window_s=3)
    spec = {"name": "spring", "version": 1, "algorithm": "thompson", "parameters": {"epsilon": 0.2}}
    api.ok("POST", "/v1/policies", spec)
    wait_until(lambda: api.ok("GET", "/v1/policies/spring/1")["state"] == "live", "spring@1 to be live")
    api.ok("POST", "/v1/placements/web/policies", {"policy": "spring@1", "stage": "shadow"})

    def seen() -> Any:
        (shadow,) = api.ok("GET", "/v1/placements/web/policies/comparison")["shadows"]
        return shadow

    asked_before = []

    def shadow_asked() -> bool:
        asked_before.append(api.decide("first"))
        return bool(seen()["decisions"])

    wait_until(shadow_asked, "the shadow to be asked")
    before = seen()["decisions"]
    for number in range(40):
        decision = api.decide(f"c{number}")
        (offer,) = decision["offers"]
        assert decision["policy"]["name"] == "random"
        api.feedback(
            decision["decision_id"],
            offer["offer_id"],
            "accepted" if offer["offer_id"] == "beta" else "rejected",
        )
    everything = len(asked_before) + 40

    def closed() -> Any:
        groups = api.ok("GET", "/v1/placements/web/policies/comparison")["deciding"]
        found = seen()
        return (
            found["decisions"] >= before + 40
            and sum(row["observed"] for row in groups) == everything
            and found
        )

    shadow = wait_until(closed, "the shadow to be asked 40 times, and all windows to be closed")
    assert (shadow["policy"], shadow["failures"]) == ("spring@1", [])
    assert shadow["estimates"]["rows"] == shadow["decisions"]

    asked = api.ok("POST", "/v1/evaluations", {"policy": "spring@1", "placement": "web"})

    def done() -> Any:
        found = api.ok("GET", f"/v1/evaluations/{asked['evaluation_id']}")
        return found["state"] in ("done", "failed") and found

    found = wait_until(done, "the evaluation to be done", timeout_s=180, explain=worker.printed)
    assert found["state"] == "done", found["error"]
    assert found["result"]["estimates"]["rows"] == everything
    assert found["result"]["logged"][0]["policy"] == "random@1"
    printed = installation.command("policies", "evaluate", "spring@1", "--placement", "web")
    assert "would have earned, DR" in printed
    assert "a defect" not in worker.printed()
