"""All simple kinds of catalogue entries: created, read, listed, replaced, deleted, refused; expressions."""

from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import Instance, Nextbest, problem_of, put_offer, traces

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # path, body, what replaces some of it
    (
        "attributes/customer.region",
        {
            "type": "string",
            "description": "where",
            "unit": "code",
            "values": ["north", "south"],
            "values_from": None,
            "classification": "internal",
            "identifier": False,
        },
        {"values": [], "classification": "sensitive"},
    ),
    ("segments/known", {"when": "customer.known", "description": "on file"}, {"when": "!customer.known"}),
    (
        "contact-policies/weekly",
        {
            "name": "two a week",
            "max": 2,
            "window_s": 604_800,
            "outcomes": ["decided", "clicked"],
            "scope": "group",
            "channels": ["web"],
            "suppress_s": 60,
            "applies_to": "cards",
            "per": "customer",
        },
        {"max": 3},
    ),
    (
        "quiet-hours/night",
        {"start": "21:00", "end": "08:00", "channels": ["call"], "time_zone": "Europe/Madrid"},
        {"channels": []},
    ),
    (
        "capacities/calls",
        {
            "name": "calls",
            "max": 300,
            "per": "day",
            "time_zone": "UTC",
            "offer": "gold",
            "group": "cards",
            "channel": "web",
            "team": "callback",
            "counts": "presented",
            "hold_s": 60,
            "overbook": 5,
            "once_per_customer": False,
            "keep_for_value": True,
        },
        {"max": 0},
    ),
    (
        "overrides/may",
        {
            "reason": "in May",
            "offer": "gold",
            "group": None,
            "starts_at": "2026-05-01T00:00:00Z",
            "ends_at": None,
        },
        {"starts_at": None, "ends_at": "2026-06-01T00:00:00Z"},
    ),
    (
        "context-weights/desk",
        {
            "when": "context.placement == 'desk'",
            "percent": 100.0,
            "goal": "retain",
            "group": "cards",
            "offer": None,
        },
        {"percent": -50.0},
    ),
    (
        "goals/retain",
        {
            "lever": 25.0,
            "requires_consent": "marketing",
            "legal_basis": "consent",
            "contact_limits": [{"max": 1, "window_s": 60}],
            "rules": [{"name": "known", "tier": "eligibility", "when": "customer.known"}],
        },
        {"lever": -25.0, "rules": []},
    ),
]


@pytest.mark.parametrize(("path", "body", "change"), KINDS)
async def test_each_kind(api: Instance, path: str, body: dict[str, Any], change: dict[str, Any]) -> None:
    section, _, name = path.partition("/")
    one = f"/v1/{path}"
    problem_of(await api.call("GET", one), 404)
    problem_of(await api.call("DELETE", one), 404)
    created = await api.call("PUT", one, json=body, role="ops")
    assert (created.status_code, created.json()["id"]) == (201, name)
    assert await api.ok("GET", one, role="scientist") == {"id": name} | body
    assert {"id": name} | body in await api.ok("GET", f"/v1/{section}")
    replaced = await api.ok("PUT", one, json=body | change, role="ops")
    assert await api.ok("GET", one) == {"id": name} | body | change
    assert replaced["catalog_version"] == created.json()["catalog_version"] + 1
    problem_of(await api.call("PUT", one, json=body | {"colour": "red"}), 422, "colour")
    assert (await api.call("DELETE", one, role="ops")).status_code == 200
    problem_of(await api.call("GET", one), 404)
    assert name not in [thing["id"] for thing in await api.ok("GET", f"/v1/{section}")]


REFUSED = [
    ("capacities/x", {"name": "x", "max": 1, "offer": "nothing"}, "offer"),
    ("capacities/x", {"name": "x", "max": 1, "group": "nothing"}, "group"),
    ("capacities/x", {"name": "x", "max": 1, "time_zone": "Mars/Olympus"}, "time_zone"),
    ("overrides/x", {"reason": "x", "offer": "nothing"}, "offer"),
    ("holdouts/x", {"share": 0.6}, "share"),
    ("holdouts/x", {"share": 0.1, "goal": "grow", "exempt_goals": ["grow"]}, "exempt_goals"),
    ("holdouts/x", {"share": 0.1, "exempt_groups": ["nothing"]}, "exempt_groups.0"),
    ("holdouts/x", {"share": 0.1, "events": [{"event": "nothing"}]}, "events.0.event"),
    (
        "overrides/x",
        {"reason": "x", "starts_at": "2026-06-01T00:00:00Z", "ends_at": "2026-06-01T00:00:00Z"},
        "ends_at",
    ),
    ("context-weights/x", {"when": "true", "percent": 1, "group": "nothing"}, "group"),
    ("goals/grow", {"rules": [{"name": "a", "tier": "eligibility", "when": "nobody.age > 3"}]}, "rules.a"),
    (
        "groups/x",
        {"name": "x", "goal": "grow", "rules": [{"name": "a", "tier": "suitability", "when": "1"}]},
        "rules.a",
    ),
    ("contact-policies/x", {"name": "x", "max": 1, "window_s": 1, "applies_to": "nothing"}, "applies_to"),
    ("quiet-hours/x", {"start": "21:00", "end": "08:00", "time_zone": "Mars/Olympus"}, "time_zone"),
    ("offers/x", {"name": "x", "group": "cards", "not_with": ["nothing"]}, "not_with"),
    (
        "offers/x",
        {"name": "x", "group": "cards", "not_after": [{"within_s": 1, "offer": "nothing"}]},
        "not_after.offer",
    ),
]


@pytest.mark.parametrize(("path", "body", "field"), REFUSED)
async def test_what_is_refused_is_named_and_changes_nothing(
    shop: Nextbest, path: str, body: dict[str, Any], field: str
) -> None:
    before = await traces(shop)
    document = problem_of(await shop.api.call("PUT", f"/v1/{path}", json=body), 422)
    assert any(error["field"].endswith(field) for error in document["errors"]), document
    assert await traces(shop) == before


EXPRESSIONS = [
    # path, body with the expression under "when", expression, line, column, suggestion
    ("segments/x", {}, "customer.incone > 3.0", 1, 1, "customer.income"),
    ("segments/x", {}, "customer.income >\n  3", 1, 17, "3.0"),
    ("segments/x", {}, "customer.income > 3.0 &&\n customer.tyer == 'a'", 2, 2, "customer.tier"),
    ("segments/x", {}, "customer.tier == 'golt'", 1, 18, "gold"),
    ("segments/x", {}, "customer.income > ", 1, None, None),
    ("segments/x", {}, "customer.income", 1, 1, None),
    ("context-weights/x", {"percent": 1}, "segment.wealty", 1, 1, "segment.wealthy"),
    ("placements/x", {"channel": "web"}, "contxt.channel == 'web'", 1, 1, "context.channel"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vocabulary(api: Instance) -> None:
    """Two attributes and a segment."""
    await api.ok("PUT", "/v1/attributes/customer.income", json={"type": "number"})
    tiers = {"type": "string", "values": ["gold", "silver"]}
    await api.ok("PUT", "/v1/attributes/customer.tier", json=tiers)
    await api.ok("PUT", "/v1/segments/wealthy", json={"when": "customer.income > 5000.0"})


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize(("path", "body", "expression", "line", "column", "suggestion"), EXPRESSIONS)
async def test_expressions(
    api: Instance,
    path: str,
    body: dict[str, Any],
    expression: str,
    line: int,
    column: int | None,
    suggestion: str | None,
) -> None:
    response = await api.call("PUT", f"/v1/{path}", json=body | {"when": expression})
    (error,) = problem_of(response, 422)["errors"]
    assert error["field"].endswith(".x.when")
    assert error["line"] == line
    assert column is None or error["column"] == column, error
    assert suggestion is None or suggestion in error["suggestion"], error


@pytest.mark.usefixtures("vocabulary")
@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"rules": [{"name": "rich", "tier": "suitability", "when": "customer.incom > 1.0"}]}, "rules.rich"),
        ({"value_expression": "customer.incom * 2.0"}, "value_expression"),
    ],
)
async def test_expressions_of_offers(api: Instance, fields: dict[str, Any], where: str) -> None:
    body = {"name": "x", "group": "cards"} | fields
    (error,) = problem_of(await api.call("PUT", "/v1/offers/x", json=body), 422)["errors"]
    assert error["field"] == f"offers.x.{where}"
    assert (error["line"], error["column"]) == (1, 1)
    assert "customer.income" in error["suggestion"]


@pytest.mark.usefixtures("vocabulary")
async def test_what_is_used_cannot_be_deleted(api: Instance) -> None:
    await put_offer(api, "user", rules=[{"name": "rich", "tier": "suitability", "when": "segment.wealthy"}])
    await api.ok("PUT", "/v1/groups/empty", json={"name": "Empty", "goal": "serve"})
    for path in ("segments/wealthy", "attributes/customer.income", "groups/cards"):
        problem_of(await api.call("DELETE", f"/v1/{path}"), 422)
        await api.ok("GET", f"/v1/{path}")
    await api.ok("DELETE", "/v1/groups/empty")
    await api.ok("DELETE", "/v1/attributes/customer.tier")


@pytest.mark.parametrize(
    "path",
    [
        *("attributes/income", "attributes/customer", "attributes/customer.a-b", "segments/a-b"),
        *("goals/nothing", "capacities/-x", "offers/a..b/treatments/..", "quiet-hours/%20"),
    ],
)
async def test_ids_that_are_none(api: Instance, path: str) -> None:
    assert (await api.call("PUT", f"/v1/{path}", json={})).status_code in (404, 405, 422)
