"""Keys, sizes of bodies and roles, before anything of a request is read."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi import Request
from starlette.types import Message, Receive, Scope, Send

from app.errors import Problem
from app.keys import ROLES, ApiKey, Role, hash_key
from app.security import Allow, KeyCheck

KEY = ApiKey("1", "desk", "frontend")
SMALL, LARGE = 10, 1000


async def test_a_key_that_is_there_twice_is_refused() -> None:
    """Proxies and servers differ in the one that they take, so none is taken."""
    for name in (b"x-api-key", b"authorization"):
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        behind = Behind()
        check = KeyCheck(behind, keys=lambda: {hash_key("secret"): KEY}, body_bytes=SMALL, import_bytes=LARGE)
        value = b"Bearer secret" if name == b"authorization" else b"secret"
        headers = [(name, value), (name, value)]
        await check({"type": "http", "path": "/v1/x", "headers": headers, "method": "GET"}, receive, send)
        assert behind.scope is None
        assert sent[0]["status"] == 401
        assert b"twice" in sent[1]["body"]


class Behind:
    """The application behind the check: it reads the whole body."""

    def __init__(self) -> None:
        self.scope: Scope | None = None
        self.body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        while True:
            message = await receive()
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                return


async def request(
    path: str = "/v1/decisions",
    headers: Mapping[str, str] | None = None,
    body: tuple[bytes, ...] = (b"",),
    keys: Mapping[bytes, ApiKey] | None = None,
    kind: str = "http",
) -> tuple[Behind, int | None, dict[str, Any]]:
    """What comes behind the check, or the status and the document with which it answers."""
    behind, sent, parts = Behind(), list[Message](), list(body)

    async def receive() -> Message:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Message) -> None:
        sent.append(message)

    check = KeyCheck(behind, keys=lambda: keys, body_bytes=SMALL, import_bytes=LARGE)
    given = {"x-api-key": "secret"} if headers is None else headers
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    await check({"type": kind, "path": path, "headers": raw, "method": "POST"}, receive, send)
    if not sent:
        return behind, None, {}
    return behind, sent[0]["status"], json.loads(sent[1]["body"])


KEYS = {hash_key("secret"): KEY}


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ({"x-api-key": "secret"}, True),
        ({"authorization": "Bearer secret"}, True),
        ({"authorization": "bEARER   secret  "}, True),
        ({"authorization": "Basic c2VjcmV0", "x-api-key": "secret"}, True),
        ({"authorization": "Bearer other", "x-api-key": "secret"}, False),
        ({"authorization": "secret"}, False),
        ({"authorization": "Bearer"}, False),
        ({"x-api-key": "Secret"}, False),
        ({"x-api-key": "s\xe9cret"}, False),
        ({"x-api-key": ""}, False),
        ({}, False),
    ],
)
async def test_a_key_is_asked_for(headers: dict[str, str], known: bool) -> None:
    behind, status, said = await request(headers=headers, keys=KEYS)
    if known:
        assert behind.scope is not None
        assert behind.scope["api_key"] is KEY
    else:
        assert (behind.scope, status) == (None, 401)
        assert "Authorization: Bearer" in said["detail"]


async def test_what_is_not_protected_needs_none() -> None:
    for path, kind in (("/readyz", "http"), ("/", "http"), ("/v1", "http"), ("/v1/x", "websocket")):
        behind, _, _ = await request(path, {}, keys=KEYS, kind=kind)
        assert behind.scope is not None
        assert "api_key" not in behind.scope


async def test_while_keys_are_not_known_nobody_is_refused_as_a_stranger() -> None:
    behind, status, _ = await request(keys=None)
    assert (behind.scope, status) == (None, 503)


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/v1/decisions", SMALL), ("/v1/imports/customers", LARGE), ("/v1/catalog/document", LARGE)],
)
@pytest.mark.parametrize("declared", [True, False])
async def test_bodies_have_a_size_declared_or_not(path: str, limit: int, declared: bool) -> None:
    async def send(size: int) -> tuple[Behind, int | None, dict[str, Any]]:
        headers = {"x-api-key": "secret"} | ({"content-length": str(size)} if declared else {})
        half = size // 2
        return await request(path, headers, (b"x" * half, b"x" * (size - half)), KEYS)

    behind, status, _ = await send(limit)
    assert (len(behind.body), status) == (limit, None)
    if declared:
        behind, status, said = await send(limit + 1)
        assert (behind.scope, status) == (None, 413)
        assert f"{limit} bytes" in said["detail"]
    else:
        with pytest.raises(Problem, match=f"{limit} bytes") as caught:
            await send(limit + 1)
        assert caught.value.status_code == 413


@pytest.mark.parametrize("length", ["9" * 5000, "1" * 19])
async def test_a_length_beyond_all_numbers_is_refused(length: str) -> None:
    _, status, _ = await request(headers={"x-api-key": "secret", "content-length": length}, keys=KEYS)
    assert status == 413


@pytest.mark.parametrize("length", ["", "-1", "1e3", "²"])
async def test_a_length_that_is_none_is_not_believed(length: str) -> None:
    headers = {"x-api-key": "secret", "content-length": length}
    with pytest.raises(Problem, match="10 bytes"):
        await request(headers=headers, body=(b"x" * 11,), keys=KEYS)


@pytest.mark.parametrize("role", ROLES)
async def test_roles(role: Role) -> None:
    asked = Request({"type": "http", "api_key": ApiKey("1", "x", role), "headers": []})
    assert (await Allow(role)(asked)).role == role
    others: list[Role] = [other for other in ROLES if other != role and other != "admin"]
    if role == "admin":
        assert (await Allow(*others)(asked)).role == "admin"
    else:
        with pytest.raises(Problem, match=f"a key with the role '{role}' may not do this") as caught:
            await Allow(*others)(asked)
        assert caught.value.status_code == 403
