"""Shadows and evaluations as users have them: an API, a worker, and a policy that decides for nobody."""

from typing import Any

from tests.support.installation import Installation, eventually, place, publish


def test_a_policy_is_seen_in_the_shadow_and_offline_before_it_decides(installation: Installation) -> None:
    api = installation.serve()
    worker = installation.work()
    api.wait()
    publish(api, ("alpha", "beta", "gamma"))
    place(api, policy="random")
    spec = {"name": "spring", "version": 1, "algorithm": "thompson", "parameters": {"epsilon": 0.2}}
    api.ok("POST", "/v1/policies", spec)
    eventually(lambda: api.ok("GET", "/v1/policies/spring/1")["state"] == "live")
    api.ok("POST", "/v1/placements/web/policies", {"policy": "spring@1", "stage": "shadow"})

    def seen() -> Any:
        (shadow,) = api.ok("GET", "/v1/placements/web/policies/comparison")["shadows"]
        return shadow

    eventually(lambda: api.decide("first") and seen()["decisions"])
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
    shadow = eventually(lambda: (found := seen())["decisions"] >= before + 40 and found)
    assert (shadow["policy"], shadow["failures"]) == ("spring@1", [])
    assert shadow["estimates"]["rows"] == 40

    asked = api.ok("POST", "/v1/evaluations", {"policy": "spring@1", "placement": "web"})

    def done() -> Any:
        found = api.ok("GET", f"/v1/evaluations/{asked['evaluation_id']}")
        return found["state"] in ("done", "failed") and found

    found = eventually(done, 60.0, worker.printed)
    assert found["state"] == "done", found["error"]
    assert found["result"]["estimates"]["rows"] == 40
    assert found["result"]["logged"][0]["policy"] == "random@1"
    printed = installation.command("policies", "evaluate", "spring@1", "--placement", "web")
    assert "would have earned, DR" in printed
    assert "a defect" not in worker.printed()
