"""What was probably not meant is said in the answer to whatever changes or tries it, and never refused."""

from typing import Any

import pytest

from tests.support.api import Instance, Nextbest, decide

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUT: list[tuple[str, dict[str, Any], str]] = [
    ("groups/cards", {"name": "Cards", "goal": "grow", "lever": 0.2}, "groups.cards.lever"),
    ("goals/grow", {"lever": 1.5}, "goals.grow.lever"),
    ("offers/bare", {"name": "Bare", "group": "cards"}, "offers.bare.treatments"),
    (
        "offers/bare/treatments/sms",
        {"channel": "sms", "title": "Bare"},
        "offers.bare.treatments",
    ),
    (
        "placements/lost",
        {"channel": "fax", "reward_window_s": 7},
        "placements.lost.reward_window_s",
    ),
    ("contact-policies/weekly", {"name": "w", "max": 1, "window_s": 7}, "contact_policies.weekly.window_s"),
    (
        "quiet-hours/all",
        {"start": "08:00", "end": "08:00", "channels": ["call"]},
        "quiet_hours.all.channels.0",
    ),
    ("capacities/calls", {"name": "c", "max": 3, "team": "nobody"}, "capacities.calls.team"),
    ("context-weights/w", {"when": "true", "percent": 1.5, "goal": "grow"}, "context_weights.w.percent"),
    ("segments/s", {"when": "context.channel == 'wen'"}, "segments.s.when"),
    (
        "overrides/o",
        {"reason": "r", "offer": "gold", "ends_at": "2020-01-01T00:00:00Z"},
        "overrides.o.ends_at",
    ),
    ("outcomes/quoted", {"name": "q", "suppress": [{"for_s": 7}]}, "outcomes.quoted.suppress.0.for_s"),
    ("alert-rules/a", {"watches": "degraded_share", "window_s": 7}, "alert_rules.a.window_s"),
    (
        "holdouts/over",
        {"share": 0.1, "ends_at": "2020-01-01T00:00:00Z"},
        "holdouts.over.ends_at",
    ),
]


@pytest.mark.parametrize(("path", "body", "field"), PUT)
async def test_what_is_put_is_stored_and_warned_of(
    api: Instance, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await api.ok("PUT", f"/v1/{path}", json=body)
    found = {warning["field"]: warning for warning in answer["warnings"]}
    assert field in found
    assert found[field]["message"]
    assert found[field]["way_out"]
    everything = await api.ok("GET", "/v1/catalog/warnings")
    assert found[field] in everything
    if "treatments" not in path:
        await api.ok("GET", f"/v1/{path}")


async def test_what_is_as_usual_gets_no_warnings(api: Instance) -> None:
    answer = await api.ok("PUT", "/v1/goals/grow", json={"lever": 25})
    assert answer["warnings"] == []


async def test_a_change_tells_what_it_does_to_others(api: Instance) -> None:
    body = {"name": "Call", "group": "cards", "team": "callback"}
    await api.ok("PUT", "/v1/offers/call", json=body)
    await api.ok("PUT", "/v1/offers/call/treatments/web", json={"channel": "web", "title": "Call"})
    capacity = {"name": "c", "max": 3, "team": "callback"}
    assert (await api.ok("PUT", "/v1/capacities/callbacks", json=capacity))["warnings"] == []
    answer = await api.ok("PUT", "/v1/offers/call", json=body | {"team": None})
    assert [w["field"] for w in answer["warnings"]] == ["capacities.callbacks.team"]
    ended = await api.ok("POST", "/v1/offers/call/status", json={"status": "ended"})
    assert ended["warnings"] == []


async def test_documents_are_warned_of_as_a_whole(api: Instance) -> None:
    document = (await api.call("GET", "/v1/catalog/export")).text
    headers = {"Content-Type": "application/yaml"}
    everything = await api.ok("GET", "/v1/catalog/warnings")
    assert everything
    for path in ("diff", "apply?dry_run=true", "apply"):
        answer = await api.ok("POST", f"/v1/catalog/{path}", content=document, headers=headers)
        assert answer["warnings"] == everything


async def test_facts_that_nobody_ever_sent_are_warned_of_where_they_are_logged_and_learned_from(
    shop: Nextbest,
) -> None:
    api = shop.api
    await decide(api, context={"visits": 3})
    await shop.worker.drain()
    for name in ("visits", "vists"):
        await api.ok("PUT", f"/v1/attributes/context.{name}", json={"type": "int"})
    logged = {"channel": "web", "log_facts": ["context.visits", "context.vists"]}
    await api.ok("PUT", "/v1/placements/told", json=logged)
    features = [
        {"name": "visits", "kind": "numeric", "path": "context.visits"},
        {"name": "month", "kind": "numeric", "path": "context.months"},
    ]
    for name in ("used", "idle"):
        spec = {"name": name, "algorithm": "linear_thompson", "features": features}
        await api.ok("POST", "/v1/policies", json=spec)
    await shop.worker.warm()
    body = {"policy": "used@1", "stage": "shadow"}
    await api.ok("POST", "/v1/placements/told/policies", json=body, role="scientist")
    everything = await api.ok("GET", "/v1/catalog/warnings")
    found = {w["field"]: w for w in everything if w["field"].startswith(("policies.", "placements.told.log"))}
    assert set(found) == {"placements.told.log_facts.1", "policies.used@1.features.month.path"}
    unlogged, unlearned = (found[field] for field in sorted(found))
    assert unlogged["message"].startswith("'context.vists' is declared, but none of the last")
    assert unlogged["message"].endswith("decisions had it, so it is not logged")
    assert unlogged["way_out"] == "did you mean 'context.visits'?"
    assert unlearned["message"].startswith("'context.months' is not declared, and none of the last")
    assert unlearned["message"].endswith("so it is not learned from")
    assert unlearned["way_out"] == "send it, or leave it out"
    document = (await api.call("GET", "/v1/catalog/export")).text
    headers = {"Content-Type": "application/yaml"}
    for path in ("diff", "apply"):
        answer = await api.ok("POST", f"/v1/catalog/{path}", content=document, headers=headers)
        assert answer["warnings"] == everything
    made = await api.ok("POST", "/v1/changesets", json={"title": "more"})
    path = f"/v1/changesets/{made['changeset_id']}"
    await api.ok("PATCH", f"{path}/items/placement/told", json={"slots": 2})
    checked = await api.ok("POST", f"{path}/check")
    assert set(found) <= {w["field"] for w in checked["warnings"]}
    await decide(api, context={"vists": 1, "months": 2})
    await shop.worker.drain()
    left = {w["field"] for w in await api.ok("GET", "/v1/catalog/warnings")}
    assert not left & set(found)


async def test_contexts_of_decisions_that_count_are_held_against_the_vocabulary_afterwards(
    shop: Nextbest,
) -> None:
    api = shop.api
    mood = {"type": "string", "values": ["calm", "angry"]}
    await api.ok("PUT", "/v1/attributes/context.mood", json=mood)
    await api.ok("PUT", "/v1/attributes/context.answers", json={"type": "list"})
    for context in ({"mood": "furious"}, {"mood": "calm"}, {"mood": "cross", "answers": "yes"}):
        answer = await decide(api, context=context)
        assert "warnings" not in answer
    await shop.worker.drain()
    found = {w["field"]: w for w in await api.ok("GET", "/v1/catalog/warnings")}
    told = "had a value or a type that is not declared in {} of the last "
    assert found["context.mood"]["message"].startswith(told.format(2))
    assert found["context.answers"]["message"].startswith(told.format(1))
    assert "furious" not in str(found)
    for name in ("mood", "answers"):
        await api.ok("DELETE", f"/v1/attributes/context.{name}")


async def test_a_context_that_is_tried_is_held_against_the_vocabulary(api: Instance) -> None:
    reasons = {"type": "string", "values": ["cancel", "browse"]}
    await api.ok("PUT", "/v1/attributes/context.reason", json=reasons)
    odd = {"reason": "cancle"}
    tried = [
        await api.ok("POST", "/v1/rules/preview", json={"expression": "customer.known", "context": odd}),
        await api.ok(
            "POST",
            "/v1/simulations",
            json={
                "placement": "home",
                "changes": [{"kind": "goal", "id": "grow", "body": {"lever": 5}}],
                "context": odd,
            },
        ),
        await decide(api, dry_run=True, context=odd),
    ]
    for answer in tried:
        (warning,) = answer["warnings"]
        assert warning["field"] == "context.reason"
        assert "did you mean 'cancel'?" in warning["way_out"]
    assert "warnings" not in await decide(api, dry_run=True, context={"reason": "cancel"})
    assert "warnings" not in await decide(api, context=odd)


async def test_a_preview_warns_of_what_a_rule_never_finds(api: Instance) -> None:
    answer = await api.ok("POST", "/v1/rules/preview", json={"expression": "context.placement == 'hom'"})
    (warning,) = answer["warnings"]
    assert (warning["field"], warning["way_out"]) == ("expression", "did you mean 'home'?")


async def test_a_change_is_answered_and_in_force_though_warnings_fail(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    adopted = []

    def fail(*_: Any) -> None:
        adopted.append("late" in api.state.current_catalogue().segments)
        raise RuntimeError("a defect")

    monkeypatch.setattr("app.api.catalogue.editing.warnings_of_change", fail)
    response = await api.call("PUT", "/v1/segments/late", json={"when": "customer.known"})
    assert (response.status_code, response.json()["warnings"]) == (201, [])
    response = await api.call("PATCH", "/v1/segments/late", json={"when": "true"})
    assert (response.status_code, response.json()["warnings"]) == (200, [])
    assert adopted == [True, True]
    assert (await api.call("DELETE", "/v1/segments/late")).status_code == 200


async def test_a_rollback_is_answered_though_warnings_fail(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await api.ok("GET", "/v1/catalog", params={"limit": 1}))[0]["version"]
    await api.ok("PUT", "/v1/segments/gone", json={"when": "true"})

    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("app.api.catalogue.history_routes.catalogue_warnings", fail)
    answer = await api.ok("POST", "/v1/catalog/rollback", json={"version": before, "reason": "a try"})
    assert answer["warnings"] == []
    assert "gone" not in api.state.current_catalogue().segments
