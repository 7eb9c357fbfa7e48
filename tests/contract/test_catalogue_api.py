"""The catalogue over HTTP: created, replaced, read; references are checked; changes reach every instance."""

import asyncio
import json
from typing import Any

import pytest

from app.api.catalogue.offer_schemas import BriefOffer, CatalogueOffer
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer, traces
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFER = {
    "name": "Spring",
    "group": "cards",
    "value": 4.5,
    "status": "live",
    "starts_at": "2026-03-01T00:00:00Z",
    "ends_at": "2026-04-01T00:00:00.250Z",
    "requires_consent": "marketing",
    "contact_limits": [{"max": 3, "window_s": 60}, {"max": 9, "window_s": 3600}],
    "value_expression": "offer.months > 12 ? 9.5 : 4.5",
    "legal_basis": "legitimate_interest",
    "lever": 12.5,
    "mandatory": True,
    "transactional": True,
    "team": "callback",
    "attributes": {"months": 24, "line": "mobile", "new": True, "price": 9.5},
    "rules": [{"name": "known", "tier": "eligibility", "when": "customer.known"}],
    "min_propensity": 0.25,
    "not_with": ["gold"],
    "not_after": [{"within_s": 60, "offer": None, "group": "cards", "outcomes": ["accepted", "rejected"]}],
    "after_rejection": [{"for_s": 60, "scope": "attribute", "attribute": "line"}],
}
PLACEMENT = {
    "channel": "app",
    "slots": 3,
    "default_offers": ["gold", "silver"],
    "deadline_ms": 77,
    "presentation": "explicit",
    "reward_window_s": 99,
    "policy": "propensity",
    "fallback_policy": "random",
    "control_policy": "thompson",
    "control_share": 0.25,
    "experiment_salt": "autumn",
    "without_history": "allow",
    "confirm_within_s": 60,
    "off": ["P", "L"],
    "when": "customer.known",
    "min_propensity": 0.125,
    "max_per_group": 2,
    "log_facts": ["context.channel"],
    "tie_break": "value",
    "fill_with_defaults": True,
}
TREATMENT = {
    "channel": "app",
    "language": "pt-BR",
    "title": "Olá",
    "message": "Linha 1\nLinha 2",
    "image": "https://example.com/a.png",
    "link": "/spring",
    "button": "Vamos",
    "legal": "Só maiores.",
    "attributes": {"colour": "gold", "places": 3},
}


async def version(api: Instance, path: str, body: dict[str, Any], status: int) -> int:
    """PUT something; returns the catalogue version that it is in."""
    response = await api.call("PUT", path, json=body, role="ops")
    assert response.status_code == status, response.text
    return int(response.json()["catalog_version"])


async def test_things_are_created_read_and_replaced(api: Instance) -> None:
    await version(api, "/v1/attributes/offer.months", {"type": "int"}, 201)
    first = await version(api, "/v1/groups/loans", {"name": "Loans", "goal": "retain", "lever": -5}, 201)
    assert await version(api, "/v1/offers/spring", OFFER, 201) == first + 1
    assert await version(api, "/v1/offers/spring/treatments/push", TREATMENT, 201) == first + 2
    assert await version(api, "/v1/placements/app", PLACEMENT, 201) == first + 3
    assert await version(api, "/v1/offers/spring", OFFER | {"name": "Summer"}, 200) == first + 4
    group = await api.ok("GET", "/v1/groups/loans")
    demands: dict[str, Any] = {
        "requires_consent": None,
        "legal_basis": "consent",
        "contact_limits": [],
        "rules": [],
    }
    assert group == {"group_id": "loans", "name": "Loans", "goal": "retain", "lever": -5} | demands
    assert group in await api.ok("GET", "/v1/groups")
    offer = await api.ok("GET", "/v1/offers/spring")
    assert offer.pop("treatments") == [{"treatment_id": "push", "fallbacks": {}, "script": None} | TREATMENT]
    assert offer.pop("inherited") == []
    number = offer.pop("number")
    ends_at = "2026-04-01T00:00:00.250000Z"
    assert offer == OFFER | {
        "offer_id": "spring",
        "name": "Summer",
        "ends_at": ends_at,
        "effective_status": "ended",
    }
    assert number not in [o["number"] for o in await api.ok("GET", "/v1/offers") if o["offer_id"] != "spring"]
    placement = await api.ok("GET", "/v1/placements/app")
    assert placement == {"placement_id": "app"} | PLACEMENT
    assert placement in await api.ok("GET", "/v1/placements")


async def test_replacing_an_offer_keeps_its_number_and_treatments(api: Instance) -> None:
    await put_offer(api, "kept")
    before = await api.ok("GET", "/v1/offers/kept")
    await api.ok("PUT", "/v1/offers/kept", json={"name": "New name", "group": "cards"})
    assert await api.ok("GET", "/v1/offers/kept") == before | {"name": "New name"}


async def test_offers_are_listed_in_brief(api: Instance) -> None:
    whole = await api.ok("GET", "/v1/offers")
    brief = await api.ok("GET", "/v1/offers", params={"brief": "true"}, role="scientist")
    assert [BriefOffer.model_validate(offer).model_dump() for offer in brief] == brief
    assert brief == [{name: offer[name] for name in BriefOffer.model_fields} for offer in whole]
    assert [CatalogueOffer.model_validate_json(json.dumps(o)).model_dump(mode="json") for o in whole] == whole


async def test_defaults(api: Instance) -> None:
    await api.ok("PUT", "/v1/offers/plain", json={"name": "Plain", "group": "cards"})
    offer = await api.ok("GET", "/v1/offers/plain")
    assert (offer["value"], offer["status"], offer["contact_limits"], offer["treatments"]) == (
        1,
        "live",
        [],
        [],
    )
    assert offer["starts_at"] is offer["ends_at"] is offer["requires_consent"] is None
    await api.ok("PUT", "/v1/placements/plain", json={"channel": "web"})
    placement = await api.ok("GET", "/v1/placements/plain")
    assert (placement["slots"], placement["control_share"], placement["policy"]) == (1, 0.1, "calibrated")


async def test_dates_are_kept_in_any_zone(api: Instance) -> None:
    dates = [
        ("2026-03-01T01:30:00+05:30", "2026-02-28T20:00:00Z"),
        ("1969-12-31T23:59:59Z", None),  # always: before anything was offered
        ("0001-01-01T00:00:00Z", None),
        ("2026-03-01t00:00:00z", "2026-03-01T00:00:00Z"),
        ("2026-03-01 00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2026-03-01T00:00:00.0009999Z", "2026-03-01T00:00:00Z"),
    ]
    for given, shown in dates:
        body = {"name": "Dated", "group": "cards", "starts_at": given}
        await api.ok("PUT", "/v1/offers/dated", json=body)
        assert (await api.ok("GET", "/v1/offers/dated"))["starts_at"] == shown
    ends = (
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T09:59:59-14:00",
    )
    for end in ends:
        await api.ok("PUT", "/v1/offers/dated", json={"name": "Dated", "group": "cards", "ends_at": end})
        shown = (await api.ok("GET", "/v1/offers/dated"))["ends_at"]
        assert shown[:4] == end[:4]
    assert len(await api.ok("GET", "/v1/offers")) > 3


@pytest.mark.parametrize("kind", ["groups", "offers", "placements"])
async def test_what_is_not_there(api: Instance, kind: str) -> None:
    assert "nothing" in problem_of(await api.call("GET", f"/v1/{kind}/nothing"), 404)["detail"]


async def test_references_must_lead_somewhere(shop: Nextbest) -> None:
    before = await traces(shop)
    offer = {"name": "x", "group": "nowhere"}
    document = problem_of(await shop.api.call("PUT", "/v1/offers/x", json=offer), 422, "group")
    assert "PUT /v1/groups/nowhere" in document["detail"]
    placement = {"channel": "web", "default_offers": ["gold", "nothing"]}
    problem_of(await shop.api.call("PUT", "/v1/placements/x", json=placement), 422, "default_offers")
    path = "/v1/offers/nothing/treatments/x"
    problem_of(await shop.api.call("PUT", path, json={"channel": "web", "title": "x"}), 404)
    assert await traces(shop) == before
    for path in ("/v1/offers/x", "/v1/placements/x"):
        problem_of(await shop.api.call("GET", path), 404)


async def test_changes_reach_other_instances(shop: Nextbest) -> None:
    async with shop.another() as other:
        await put_offer(shop.api, "fresh", value=1e6)

        async def offered() -> bool:
            answer = await decide(other, limit=1, dry_run=True)
            return bool(answer["offers"][0]["offer_id"] == "fresh")

        async def gone() -> bool:
            answer = await decide(other, limit=2, dry_run=True)
            return "fresh" not in [offer["offer_id"] for offer in answer["offers"]]

        await eventually(offered, "the new offer in the other instance", timeout_s=5)
        await shop.api.ok("PUT", "/v1/offers/fresh", json={"name": "x", "group": "cards", "status": "paused"})
        await eventually(gone, "the paused offer to be gone in the other instance", timeout_s=5)


async def test_what_another_instance_has_just_made_can_be_built_upon(shop: Nextbest) -> None:
    """A script that creates a catalogue step by step, through a load balancer, does not trip over the poll."""
    async with shop.another(catalog_poll_ms=60_000) as slow:
        await shop.api.ok("PUT", "/v1/groups/new", json={"name": "New", "goal": "serve"})
        await slow.ok("PUT", "/v1/offers/new", json={"name": "New", "group": "new"})
        await shop.api.ok("PUT", "/v1/offers/newer", json={"name": "Newer", "group": "new"})
        treatment = {"channel": "new", "title": "New"}
        await slow.ok("PUT", "/v1/offers/newer/treatments/x", json=treatment)
        await slow.ok("PUT", "/v1/placements/new", json={"channel": "new", "default_offers": ["newer"]})


async def test_changes_at_once_get_a_version_each(shop: Nextbest) -> None:
    async with shop.another() as other:
        answers = await asyncio.gather(
            *(
                instance.ok("PUT", f"/v1/groups/at-once-{number}", json={"name": "x", "goal": "serve"})
                for number in range(10)
                for instance in (shop.api, other)
            )
        )
    versions = sorted(answer["catalog_version"] for answer in answers)
    assert versions == list(range(versions[0], versions[0] + 20))


async def test_an_offer_needs_a_treatment_for_the_channel(api: Instance) -> None:
    await api.ok(
        "PUT", "/v1/placements/tv", json={"channel": "tv", "deadline_ms": 5000, "default_offers": ["gold"]}
    )
    answer = await decide(api, placement="tv")
    assert (answer["offers"], answer["degraded"]) == ([], [])


async def test_treatments_by_language(api: Instance) -> None:
    await api.ok("PUT", "/v1/placements/radio", json={"channel": "radio", "deadline_ms": 5000})
    for language in ("de", "fr"):
        body = {"channel": "radio", "language": language, "title": language}
        await api.ok("PUT", f"/v1/offers/gold/treatments/radio-{language}", json=body)
    for attributes, language in (
        ({"language": "fr"}, "fr"),
        ({"language": "xx"}, "de"),
        ({"language": 7}, "de"),
    ):
        await api.ok("PUT", "/v1/customers/listener", json={"attributes": attributes})
        answer = await decide(api, "listener", "radio")
        assert answer["offers"][0]["treatment"]["language"] == language
