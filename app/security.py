"""API keys and roles: a key is checked before anything of the body is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.bodies import WaitingBodies
from app.errors import Problem, problem, problem_of
from app.keys import ApiKey, Role, hash_key

PROTECTED = "/v1/"
_FILE_PATHS = ("/v1/imports/", "/v1/catalog/")
_STREAMED = "/v1/imports/"
"""Bodies that are written to disk as they come."""
_KEY_HEADERS = (b"x-api-key", b"authorization")
_MAX_LENGTH_DIGITS = 18
OPEN_BODY_BYTES = 4096
"""The largest body that is taken without a key."""

OPEN_WAITING_BYTES = 4 << 20


class Sessions(Protocol):
    """Sessions of browsers, by their cookies."""

    async def key_of(
        self, headers: Mapping[bytes, bytes], method: str, keys: Mapping[bytes, ApiKey]
    ) -> ApiKey | None:
        """Find the key that a request's cookie stands for. Raises ``Problem``."""


@dataclass
class KeyCheck:
    """ASGI middleware: a key for everything under ``/v1/``, and bodies within their size.

    ``keys`` gives the keys in force, ``None`` while they are not known yet.
    """

    app: ASGIApp
    keys: Callable[[], Mapping[bytes, ApiKey] | None]
    body_bytes: int
    import_bytes: int
    bodies: WaitingBodies = field(default_factory=WaitingBodies)
    open_bodies: WaitingBodies = field(default_factory=lambda: WaitingBodies(OPEN_WAITING_BYTES))
    """Those without a key, apart from the others."""
    used: set[str] = field(default_factory=set)
    """Ids of keys that were used; whoever notes them elsewhere takes them out."""
    sessions: Callable[[], Sessions | None] = lambda: None
    """Gives those of browsers, whose cookie stands for a key."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PROTECTED):
            if scope["type"] == "http" and scope["method"] == "POST":
                # Whoever signs in has no key yet, so nothing is known of them.
                await self.open_bodies.run(self.app, scope, receive, send, OPEN_BODY_BYTES, in_memory=True)
                return
            await self.app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        found = dict(headers)
        if any(_count(headers, name) > 1 for name in _KEY_HEADERS):
            await problem(401, "the API key is there twice: send it once")(scope, receive, send)
            return
        keys = self.keys()
        if keys is None:
            await problem(503, "not ready yet")(scope, receive, send)
            return
        presented = presented_key(found)
        key = keys.get(hash_key(presented))
        if key is None and not presented and b"cookie" in found and (sessions := self.sessions()) is not None:
            try:
                key = await sessions.key_of(found, scope["method"], keys)
            except Problem as error:
                await problem_of(error)(scope, receive, send)
                return
        if key is None:
            detail = "send a valid API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            await problem(401, detail)(scope, receive, send)
            return
        # For the routes, and without a second look-up: `Allow` finds it here.
        scope["api_key"] = key
        self.used.add(key.key_id)
        is_file = scope["path"].startswith(_FILE_PATHS)
        limit = self.import_bytes if is_file else self.body_bytes
        length = found.get(b"content-length", b"")
        # A length that is missing or odd says nothing: what comes is counted.
        if length.isdigit() and (len(length) > _MAX_LENGTH_DIGITS or int(length) > limit):
            await problem(413, f"the body is longer than the {limit} bytes that are taken")(
                scope, receive, send
            )
            return
        in_memory = not scope["path"].startswith(_STREAMED)
        await self.bodies.run(self.app, scope, receive, send, limit, in_memory=in_memory)


def _count(headers: list[tuple[bytes, bytes]], name: bytes) -> int:
    return sum(header == name for header, _ in headers)


def presented_key(headers: Mapping[bytes, bytes]) -> str:
    """Read the key of a request from its headers; "" if there is none."""
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip().decode("latin-1")
    return headers.get(b"x-api-key", b"").decode("latin-1")


class Allow:
    """A dependency: the key's role must be one of ``roles``; an admin may do everything (``Allow()``: nobody else)."""

    def __init__(self, *roles: Role) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> ApiKey:
        """Return the key of the request. Raises ``Problem`` (403)."""
        key: Any = request.scope["api_key"]
        assert isinstance(key, ApiKey)
        if key.role != "admin" and key.role not in self.roles:
            roles = " or ".join(self.roles or ("admin",))
            raise Problem(403, f"a key with the role {key.role!r} may not do this; it takes {roles}")
        return key
