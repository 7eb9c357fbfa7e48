"""General articles over HTTP: edited like the rest of the catalogue, and found by agents."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from decisioning.evaluation.replay_service import replay
from storage import clock
from storage.clock import to_iso
from tests.support.api import Instance, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEARCH = "/v1/desk/articles"
CANCEL: dict[str, Any] = {
    "title": "How to cancel a contract",
    "body": "A contract ends with its month.\nAsk for the reason first. <b>Be kind.</b>",
    "tags": ["leave"],
    "reasons": ["too-expensive"],
    "channels": ["agent"],
}
CANCELAR: dict[str, Any] = {
    "title": "Cómo cancelar un contrato",
    "body": "El contrato acaba con el mes.",
    "language": "es-MX",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(shop: Nextbest) -> AsyncIterator[Instance]:
    """A service with two placements, a reason, and articles in two languages."""
    api = shop.api
    await api.ok("PUT", "/v1/reasons/too-expensive", json={"name": "Costs too much"})
    await api.ok("PUT", "/v1/reasons/moving", json={"name": "Moving"})
    await api.ok("PUT", "/v1/placements/calls", json={"channel": "agent"})
    await api.ok("PUT", "/v1/articles/cancel", json=CANCEL, role="ops")
    await api.ok("PUT", "/v1/articles/cancelar", json=CANCELAR, role="ops")
    yield api


async def find(api: Instance, **query: Any) -> list[str]:
    """The ids of the articles that are found, as an agent asks for them."""
    answer = await api.ok("GET", SEARCH, params=query, role="agent")
    return [one["article_id"] for one in answer["results"]]


async def test_an_agent_reads_articles_and_changes_none(desk: Instance) -> None:
    whole = {"id": "cancel", **CANCEL, "language": "en", "starts_at": None, "ends_at": None}
    assert await desk.ok("GET", "/v1/articles/cancel", role="agent") == whole
    assert whole in await desk.ok("GET", "/v1/articles", role="agent")
    for role in ("agent", "scientist", "frontend"):
        problem_of(await desk.call("PUT", "/v1/articles/cancel", json=CANCEL, role=role), 403)
    problem_of(await desk.call("GET", "/v1/articles/cancel", role="frontend"), 403)


async def test_it_is_found_whole_as_soon_as_it_is_saved(desk: Instance) -> None:
    (found,) = (
        await desk.ok("GET", SEARCH, params={"q": "CANCEL cóntract", "language": "en"}, role="frontend")
    )["results"]
    assert found == {
        "article_id": "cancel",
        "title": CANCEL["title"],
        "body": CANCEL["body"],
        "language": "en",
        "tags": ["leave"],
        "reasons": ["too-expensive"],
        "every_word": True,
    }
    await desk.ok("PUT", "/v1/articles/holidays", json={"title": "Holidays", "body": "Closed on Mondays."})
    assert await find(desk, q="monday") == ["holidays"]
    await desk.ok("PATCH", "/v1/articles/holidays", json={"body": "Closed on Tuesdays."})
    assert (await find(desk, q="monday"), await find(desk, q="tuesday")) == ([], ["holidays"])
    await desk.ok("DELETE", "/v1/articles/holidays")
    assert await find(desk, q="tuesday") == []


async def test_it_is_found_in_its_language_channel_and_time(desk: Instance) -> None:
    assert await find(desk, q="cancel contract") == ["cancel", "cancelar"]
    assert await find(desk, q="cancel", language="es") == ["cancelar"]
    assert await find(desk, q="cancel", language="en-GB") == ["cancel"]
    assert await find(desk, q="cancel", placement="calls") == ["cancelar", "cancel"], "by title"
    assert await find(desk, q="cancel", placement="home") == ["cancelar"]
    assert len(await find(desk, q="cancel", limit=1)) == 1
    now_ms = clock.now_ms()
    for name, times in (
        ("past", {"ends_at": to_iso(now_ms - 1000)}),
        ("future", {"starts_at": to_iso(now_ms + 3_600_000)}),
        ("now", {"starts_at": to_iso(now_ms - 1000), "ends_at": to_iso(now_ms + 3_600_000)}),
    ):
        await desk.ok("PUT", f"/v1/articles/{name}", json={"title": "Sunday opening", "body": name} | times)
    assert await find(desk, q="sunday") == ["now"]
    for name in ("past", "future", "now"):
        await desk.ok("DELETE", f"/v1/articles/{name}")


async def test_it_is_found_by_the_reason_that_it_answers(desk: Instance) -> None:
    assert await find(desk, reason="too-expensive") == ["cancel"]
    assert await find(desk, q="costs") == ["cancel"]
    assert await find(desk, reason="too-expensive", language="es") == []
    assert await find(desk, reason="moving", q="cancel") == []
    problem_of(await desk.call("GET", SEARCH, params={"reason": "nothing"}, role="agent"), 404)
    refused = problem_of(await desk.call("DELETE", "/v1/reasons/too-expensive"), 422)
    assert "too-expensive" in refused["detail"]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"body": None}, "body", ""),
        ({"body": "  "}, "body", "is empty"),
        ({"body": "x" * 10_001}, "body", "10000"),
        ({"title": ""}, "title", ""),
        ({"title": "Dear {{ customer.name }}"}, "title", "plain text"),
        ({"language": "english!"}, "language", "en or de-CH"),
        ({"tags": ["a", "a"]}, "tags.1", "twice"),
        ({"reasons": ["too-expensiv"]}, "reasons.0", "did you mean 'too-expensive'?"),
        ({"channels": ["my shop"]}, "channels.0", "write my-shop"),
        ({"starts_at": "2026-06-01T00:00:00Z", "ends_at": "2026-06-01T00:00:00Z"}, "ends_at", "after"),
        ({"offer": "gold"}, "offer", ""),
    ],
)
async def test_what_is_wrong_is_refused_by_name_and_changes_nothing(
    desk: Instance, change: dict[str, Any], field: str, words: str
) -> None:
    before = await desk.ok("GET", "/v1/articles")
    body = {name: value for name, value in (CANCEL | change).items() if value is not None}
    refused = problem_of(await desk.call("PUT", "/v1/articles/cancel", json=body), 422)
    assert any(error["field"].endswith(field) for error in refused["errors"]), refused
    assert words in refused["detail"]
    assert await desk.ok("GET", "/v1/articles") == before


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({}, 422, "q"),
        ({"q": " "}, 422, "q"),
        ({"q": "\x00"}, 422, "q"),
        ({"q": "x", "limit": 51}, 422, "limit"),
        ({"q": "x", "language": "english!"}, 422, "language"),
        ({"q": "x", "colour": "red"}, 422, "colour"),
        ({"q": "x", "placement": "nowhere"}, 404, None),
    ],
)
async def test_what_is_asked_is_checked(
    desk: Instance, query: dict[str, Any], status: int, field: str | None
) -> None:
    response = await desk.call("GET", SEARCH, params=query, role="agent")
    problem_of(response, status, *(() if field is None else (field,)))


@pytest.mark.parametrize("q", ["'", "\\", "((", "😀", "a" * 20_000, "' OR 1=1; --", "%ff", "the"])
async def test_nothing_that_is_typed_is_an_error(desk: Instance, q: str) -> None:
    assert isinstance(await find(desk, q=q), list)


async def test_it_is_in_files_and_comes_back_out_of_them(desk: Instance) -> None:
    exported = (await desk.call("GET", "/v1/catalog/export")).text
    assert "articles:\n  cancel:\n    title: How to cancel a contract\n" in exported
    same = await desk.ok("POST", "/v1/catalog/diff", content=exported, headers={"Content-Type": "text/yaml"})
    assert same["differences"] == []
    document = (
        "nextbest: 1\narticles:\n  bank:\n    title: Bank holidays\n    body: Closed.\n    reasons: [movin]\n"
    )
    refused = problem_of(
        await desk.call("POST", "/v1/catalog/apply", content=document, headers={"Content-Type": "text/yaml"}),
        422,
    )
    (error,) = refused["errors"]
    assert (error["entity"], error["line"]) == ("articles.bank", 6)
    assert "did you mean 'moving'?" in error["reason"]
    right = document.replace("movin]", "moving]")
    await desk.ok("POST", "/v1/catalog/apply", content=right, headers={"Content-Type": "text/yaml"})
    assert await find(desk, q="bank holiday") == ["bank"]
    schema = await desk.ok("GET", "/v1/catalog/schema")
    assert "articles" in schema["properties"]
    await desk.ok("DELETE", "/v1/articles/bank")


async def test_a_change_set_brings_it_and_takes_it_back(desk: Instance) -> None:
    path = f"/v1/changesets/{(await desk.ok('POST', '/v1/changesets', json={'title': 'Moving'}))['changeset_id']}"
    body = {"title": "Moving house", "body": "The line moves along."}
    await desk.ok("PUT", f"{path}/items/article/moving", json={"body": body})
    assert await find(desk, q="moving house") == []
    await desk.ok("POST", f"{path}/apply", json={})
    assert await find(desk, q="moving house") == ["moving"]
    await desk.ok("POST", f"{path}/rollback", json={})
    assert await find(desk, q="moving house") == []


async def test_many_agents_at_once_are_told_the_same(desk: Instance) -> None:
    answers = await asyncio.gather(*(find(desk, q="cancel contract") for _ in range(20)))
    assert all(answer == ["cancel", "cancelar"] for answer in answers)


async def test_an_article_changes_no_decision(shop: Nextbest, desk: Instance) -> None:
    before = await decide(desk, "reader", "home")
    await desk.ok("PUT", "/v1/articles/gold", json={"title": "Gold", "body": "The gold card is the best."})
    after = await decide(desk, "reader", "home")
    assert [o["offer_id"] for o in after["offers"]] == [o["offer_id"] for o in before["offers"]]
    await shop.worker.archive()
    replayed = await replay(
        before["decision_id"], desk.state.archive, desk.state.catalogues, desk.state.roster
    )
    assert replayed.identical
    await desk.ok("DELETE", "/v1/articles/gold")
