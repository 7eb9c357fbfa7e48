"""Treatments with variables and scripts, and search for agents, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import Instance, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL: dict[str, Any] = {
    "channel": "agent",
    "language": "en",
    "title": "{{ offer.name }} for {{ customer.first_name | title }}",
    "message": "Reason: {{ context.reason | default('none given') }}",
    "fallbacks": {"customer.first_name": "our customer"},
    "script": {
        "steps": [
            {"step_id": "open", "text": "Greet {{ customer.first_name }}."},
            {"step_id": "save", "text": "Ask why they leave.", "when": "context.reason == 'cancel'"},
        ],
        "objections": [
            {
                "objection": "The price is too high",
                "answer": "{{ offer.name }} pays for itself, {{ customer.first_name }}.",
            }
        ],
    },
}
LLAMADA: dict[str, Any] = {
    "channel": "agent",
    "language": "es",
    "title": "Tarjeta dorada",
    "script": {
        "objections": [{"objection": "El precio es muy alto", "answer": "El reembolso cubre la cuota."}]
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(nextbest: Nextbest) -> AsyncIterator[Instance]:
    """A call centre with two offers: `gold` in English and Spanish, and `plain`, which is paused."""
    api = nextbest.api
    for path, kind in (("customer.first_name", "string"), ("context.reason", "string")):
        await api.ok("PUT", f"/v1/attributes/{path}", json={"type": kind})
    await api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow"})
    for offer_id, status in (("gold", "live"), ("plain", "paused")):
        offer = {"name": offer_id.title(), "group": "cards", "value": 10, "status": status}
        await api.ok("PUT", f"/v1/offers/{offer_id}", json=offer)
    await put(api, "gold", "call", CALL)
    await put(api, "gold", "llamada", LLAMADA)
    await put(api, "plain", "call", CALL)
    placement = {"channel": "agent", "default_offers": ["gold"], "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/desk", json=placement)
    await api.ok("PUT", "/v1/placements/web", json={"channel": "web"})
    await api.ok("PUT", "/v1/customers/ann", json={"attributes": {"first_name": "ann"}})
    await api.ok("PUT", "/v1/customers/eva", json={"attributes": {"first_name": "eva", "language": "es"}})
    yield api


async def put(api: Instance, offer_id: str, treatment_id: str, body: dict[str, Any]) -> None:
    await api.ok("PUT", f"/v1/offers/{offer_id}/treatments/{treatment_id}", json=body)


async def treatment(api: Instance, customer_id: str, **context: Any) -> Any:
    answer = await decide(api, customer_id, "desk", context=context)
    return answer["offers"][0]["treatment"]


async def search(api: Instance, q: str, **where: Any) -> list[dict[str, Any]]:
    answer = await api.ok("GET", "/v1/scripts/search", params={"q": q} | where, role="frontend")
    found: list[dict[str, Any]] = answer["results"]
    return found


async def test_an_answer_holds_the_script_for_this_customer(desk: Instance) -> None:
    assert await treatment(desk, "ann", reason="cancel") == {
        "treatment_id": "call",
        "channel": "agent",
        "language": "en",
        "title": "Gold for Ann",
        "message": "Reason: cancel",
        "image": None,
        "script": {
            "steps": [
                {"step_id": "open", "text": "Greet ann."},
                {"step_id": "save", "text": "Ask why they leave."},
            ],
            "objections": [{"objection": "The price is too high", "answer": "Gold pays for itself, ann."}],
        },
    }


async def test_for_a_stranger_there_are_fallbacks(desk: Instance) -> None:
    said = await treatment(desk, "stranger")
    assert (said["title"], said["message"]) == ("Gold for our customer", "Reason: none given")
    assert said["script"]["steps"] == [{"step_id": "open", "text": "Greet our customer."}]


async def test_the_language_is_the_requests_then_the_customers(desk: Instance) -> None:
    assert (await treatment(desk, "eva"))["language"] == "es"
    assert (await treatment(desk, "eva", language="en"))["language"] == "en"
    assert (await treatment(desk, "ann", language="es-AR"))["language"] == "es"
    assert (await treatment(desk, "ann", language="fr"))["language"] == "en"
    assert (await treatment(desk, "ann", language={"odd": 1}))["language"] == "en"


async def test_what_was_said_is_what_is_logged(desk: Instance) -> None:
    answer = await decide(desk, "ann", "desk", context={"reason": "cancel"})
    record = await desk.ok("GET", f"/v1/decisions/{answer['decision_id']}")
    assert record["offers"] == answer["offers"]


async def test_a_customers_data_is_never_a_template(desk: Instance) -> None:
    name = "{{ ''.__class__ }}{% raw %}<b>"
    await desk.ok("PUT", "/v1/customers/odd", json={"attributes": {"first_name": name}})
    assert (await treatment(desk, "odd"))["script"]["steps"][0]["text"] == f"Greet {name}."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"title": "Hi {{ customer.frist_name }}"}, "did you mean customer.first_name?"),
        ({"title": "Hi {{ customer.first_name }}", "fallbacks": {}}, "declare a fallback"),
        ({"message": "{{ cycler.__init__.__globals__ }}"}, "line 1, column 4"),
        ({"message": "{% include 'x' %}"}, "is not taken"),
        (
            {"script": {"steps": [{"step_id": "a", "text": "x", "when": "context.reson == 'x'"}]}},
            "write context.reason == 'x'",
        ),
        ({"script": {"steps": [{"step_id": "a", "text": "x"}] * 2}}, "is there twice"),
    ],
)
async def test_what_cannot_be_said_is_refused_and_nothing_changes(
    desk: Instance, change: dict[str, Any], words: str
) -> None:
    before = await desk.ok("GET", "/v1/offers/gold")
    response = await desk.call("PUT", "/v1/offers/gold/treatments/call", json=CALL | change)
    assert words in problem_of(response, 422)["detail"]
    assert await desk.ok("GET", "/v1/offers/gold") == before
    assert [f["part"] for f in await search(desk, "price too high", language="en")] == ["objection"]


async def test_an_agent_finds_what_to_answer(desk: Instance) -> None:
    (found,) = await search(desk, "prices too high", language="en", placement="desk")
    assert found.pop("rank") > 0
    assert "<mark>price</mark> is too <mark>high</mark>" in found.pop("snippet")
    assert found == {
        "offer_id": "gold",
        "offer_name": "Gold",
        "treatment_id": "call",
        "channel": "agent",
        "language": "en",
        "part": "objection",
        "part_id": "0",
        "text": "The price is too high",
        "answer": "… pays for itself, our customer.",
        "every_word": True,
    }
    (spanish,) = await search(desk, "precios altos")
    assert (spanish["language"], spanish["answer"]) == ("es", "El reembolso cubre la cuota.")
    assert await search(desk, "precio", language="en") == []
    assert await search(desk, "precio", placement="web") == []


async def test_only_live_offers_are_found(desk: Instance) -> None:
    assert {f["offer_id"] for f in await search(desk, "price", limit=50)} == {"gold"}
    offer = {"name": "Plain", "group": "cards", "value": 10}
    await desk.ok("PUT", "/v1/offers/plain", json=offer | {"status": "live"})
    assert {f["offer_id"] for f in await search(desk, "price", limit=50)} == {"gold", "plain"}
    assert len(await search(desk, "price", limit=1)) == 1
    await desk.ok("PUT", "/v1/offers/plain", json=offer | {"status": "paused"})
    assert {f["offer_id"] for f in await search(desk, "price", limit=50)} == {"gold"}


async def test_what_is_saved_is_found_at_once_and_what_is_deleted_is_not(desk: Instance) -> None:
    await put(desk, "gold", "extra", {"channel": "agent", "title": "Travel insurance included"})
    assert [f["treatment_id"] for f in await search(desk, "insure")] == ["extra"]
    await put(desk, "gold", "extra", {"channel": "agent", "title": "Lounge access included"})
    assert await search(desk, "insurance") == []
    assert [f["treatment_id"] for f in await search(desk, "lounges")] == ["extra"]
    version = desk.state.current_catalogue().version
    await desk.ok("DELETE", "/v1/offers/gold/treatments/extra")
    assert await search(desk, "lounges") == []
    await desk.ok("POST", "/v1/catalog/rollback", json={"version": version})
    assert [f["treatment_id"] for f in await search(desk, "lounges")] == ["extra"]
    await desk.ok("DELETE", "/v1/offers/gold/treatments/extra")


async def test_the_index_can_be_made_again(desk: Instance) -> None:
    before = await search(desk, "price or precio or gold or why", limit=50)
    assert await desk.state.catalogues.rebuild_search() >= len(before) > 0
    assert await search(desk, "price or precio or gold or why", limit=50) == before


@pytest.mark.parametrize("q", ["", "   ", "\x00", "\n\t"])
async def test_nothing_to_search_for_is_refused(desk: Instance, q: str) -> None:
    problem_of(await desk.call("GET", "/v1/scripts/search", params={"q": q}), 422, "q")


async def test_where_to_search_is_checked(desk: Instance) -> None:
    path = "/v1/scripts/search"
    problem_of(await desk.call("GET", path), 422, "q")
    problem_of(await desk.call("GET", path, params={"q": "x", "limit": 51}), 422, "limit")
    problem_of(await desk.call("GET", path, params={"q": "x", "language": "english!"}), 422, "language")
    problem_of(await desk.call("GET", path, params={"q": "x", "placement": "nowhere"}), 404)
    problem_of(await desk.call("GET", path, params={"q": "x"}, role="scientist"), 403)


@pytest.mark.parametrize(
    "q",
    [
        "'",
        '"',
        "\\",
        "a & | ! b",
        "((",
        ":*",
        "%00",
        "the",
        "-",
        "😀",
        "a" * 20_000,
        "' OR 1=1; --",
        "\ue000 x",
    ],
)
async def test_nothing_that_is_typed_is_an_error(desk: Instance, q: str) -> None:
    assert isinstance(await search(desk, q), list)


async def test_bytes_that_are_no_text_are_not_an_error(desk: Instance) -> None:
    response = await desk.call("GET", "/v1/scripts/search?q=%ff%fe%ed%a0%80+price")
    assert response.status_code == 200


async def test_many_agents_at_once(desk: Instance) -> None:
    answers = await asyncio.gather(*(search(desk, "price too high", language="en") for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
