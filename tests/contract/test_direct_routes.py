"""Busy routes are answered without the framework's layers, byte for byte as any other route would answer them."""

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from app.api.body import DirectRoute
from app.main import AREAS
from app.security import KeyCheck
from app.telemetry import Metrics
from tests.support.api import JSON, Instance, Nextbest, _WithState, decide

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = {"customer_id": "ann", "placement": "home", "decision_id": "again", "dry_run": True}
TOLD = {"decision_id": "nobody", "offer_id": "gold", "outcome": "clicked"}
BODIES: list[tuple[str, bytes, dict[str, str]]] = [
    ("decisions", json.dumps(ASKED).encode(), JSON),
    ("decisions", json.dumps(ASKED | {"explain": True, "limit": 1, "context": {"mood": "ñ"}}).encode(), JSON),
    ("decisions", json.dumps(ASKED).encode(), {"Content-Type": "application/vnd.x+json; charset=utf-8"}),
    ("decisions", json.dumps(ASKED).encode(), {"Content-Type": "text/plain"}),
    ("decisions", json.dumps(ASKED).encode(), {}),
    ("decisions", b"", JSON),
    ("decisions", b"[]", JSON),
    ("decisions", b"{", JSON),
    ("decisions", b"\xff", JSON),
    ("decisions", b'{"customer_id": "ann", "placement": "home", "context": {"n": NaN}}', JSON),
    (
        "decisions",
        b'{"customer_id": "ann", "placement": "home", "context": {"n": ' + b"9" * 400 + b"}}",
        JSON,
    ),
    ("decisions", json.dumps(ASKED | {"placement": "nowhere"}).encode(), JSON),
    ("decisions", json.dumps(ASKED | {"customer_id": 7, "more": 1}).encode(), JSON),
    ("decisions", json.dumps(ASKED | {"decision_id": "nb02a-" + "0" * 32}).encode(), JSON),
    ("decisions", json.dumps(ASKED | {"context": {"n": "x" * 5000}}).encode(), JSON),
    ("decisions", b'{"context": "' + b"x" * 70_000 + b'"}', JSON),
    ("feedback", json.dumps(TOLD).encode(), JSON),
    ("feedback", json.dumps(TOLD | {"outcome": "loved"}).encode(), JSON),
    ("feedback", json.dumps(TOLD | {"occurred_at": "yesterday"}).encode(), JSON),
    ("feedback", b"null", JSON),
]


def _ordinary(api: Instance) -> httpx.AsyncClient:
    """The same application, through all layers of the framework."""
    stack = FastAPI.build_middleware_stack(api.app)
    settings = api.state.settings
    checked = KeyCheck(stack, lambda: api.state.api_keys, settings.body_bytes, settings.import_bytes)

    watched = Metrics(checked)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await watched({**scope, "app": api.app}, receive, send)

    transport = httpx.ASGITransport(_WithState(app, {"nextbest": api.state}))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url="http://nextbest", timeout=30)


@pytest.mark.parametrize(("path", "body", "headers"), BODIES)
async def test_a_direct_route_answers_byte_for_byte_as_the_ordinary_one(
    api: Instance, path: str, body: bytes, headers: dict[str, str]
) -> None:
    key = {"X-API-Key": api.keys["frontend"], "X-Request-ID": "the-same"}
    direct = await api.http.post(f"/v1/{path}", content=body, headers=headers | key)
    async with _ordinary(api) as client:
        ordinary = await client.post(f"/v1/{path}", content=body, headers=headers | key)
    assert direct.status_code == ordinary.status_code
    assert sorted(direct.headers.raw) == sorted(ordinary.headers.raw)
    assert direct.headers["X-Request-ID"] == "the-same"
    if not direct.is_success:
        assert direct.json()["request_id"] == "the-same"
    assert direct.content == ordinary.content


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused_alike(api: Instance, method: str) -> None:
    key = {"X-API-Key": api.keys["frontend"], "X-Request-ID": "the-same"}
    async with _ordinary(api) as client:
        for path in ("/v1/decisions", "/v1/feedback"):
            direct = await api.http.request(method, path, headers=key)
            ordinary = await client.request(method, path, headers=key)
            assert direct.status_code == ordinary.status_code == 405
            assert direct.content == ordinary.content


async def test_a_role_that_may_not_ask_is_refused_alike(api: Instance) -> None:
    key = {"X-API-Key": api.keys["scientist"], "X-Request-ID": "the-same"}
    direct = await api.http.post("/v1/decisions", json=ASKED, headers=key)
    async with _ordinary(api) as client:
        ordinary = await client.post("/v1/decisions", json=ASKED, headers=key)
    assert direct.status_code == ordinary.status_code == 403
    assert direct.content == ordinary.content


async def test_a_defect_is_answered_alike_and_told_to_the_server(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(request: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(api.state.decisions, "decide", fail)
    key = {"X-API-Key": api.keys["frontend"], "X-Request-ID": "the-same"}
    body = json.dumps(ASKED).encode()
    answers = []
    for app in (api.http, _ordinary(api)):
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        headers = [(n.lower().encode(), v.encode()) for n, v in (key | JSON).items()]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/decisions", "raw_path": b"/v1/decisions",
            "query_string": b"", "headers": headers, "scheme": "http", "server": ("nextbest", 80),
        }  # fmt: skip
        with pytest.raises(RuntimeError):
            await app._transport.app(scope, receive, send)  # type: ignore[attr-defined]
        answers.append(sent)
    assert answers[0] == answers[1]
    assert answers[0][0]["status"] == 500


async def test_requests_of_direct_routes_are_counted(api: Instance) -> None:
    async def counted() -> float:
        text = (await api.http.get("/metrics")).text
        name = 'nextbest_requests_total{method="POST",route="/v1/decisions",status="200"} '
        return next((float(line[len(name) :]) for line in text.splitlines() if line.startswith(name)), 0.0)

    before = await counted()
    await decide(api)
    assert await counted() == before + 1


async def test_the_busy_routes_are_direct(shop: Nextbest) -> None:
    found = {r.path for area in AREAS for r in area.router.routes if isinstance(r, DirectRoute)}
    public = {f"/public/v1/{what}" for what in ("decisions", "feedback")}
    assert found == {"/v1/decisions", "/v1/events", "/v1/feedback", *public}
