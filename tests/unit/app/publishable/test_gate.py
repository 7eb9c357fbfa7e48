"""The way in for pages and apps, by itself: before keys are known, and while bodies come slowly."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.config import Settings
from app.main import create_app
from app.publishable.gate import WAITING_BYTES, PublicGate
from app.security import KeyCheck

ORIGIN = "https://shop.example"


async def nothing() -> Message:
    return {"type": "http.request"}


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody is to be asked")


@pytest.mark.parametrize(("origin", "allowed"), [(ORIGIN, ORIGIN), (None, None)])
async def test_a_page_can_read_that_the_service_is_not_ready(origin: str | None, allowed: str | None) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if origin is None else [(b"origin", origin.encode())]
    scope = {"type": "http", "method": "POST", "path": "/public/v1/decisions", "headers": headers}
    await PublicGate(nobody, nobody, lambda: None)(scope, nothing, send)
    told = dict(sent[0]["headers"]).get(b"access-control-allow-origin")
    assert (sent[0]["status"], told) == (503, None if allowed is None else allowed.encode())


def test_slow_bodies_of_pages_and_of_strangers_take_nothing_from_those_of_back_ends() -> None:
    found: Any = create_app(Settings(log_level="error")).build_middleware_stack()
    while not isinstance(found, PublicGate):
        found = found._app if hasattr(found, "_app") else found.app
    check = found.other
    assert isinstance(check, KeyCheck)
    assert found.bodies.most == WAITING_BYTES
    assert len({id(found.bodies), id(check.bodies), id(check.open_bodies)}) == 3
    assert check.bodies.most > found.bodies.most + check.open_bodies.most
