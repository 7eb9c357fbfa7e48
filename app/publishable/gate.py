"""The way in for pages and apps: preflights, origins, keys and their rates, before anything of a body is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from fastapi import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.bodies import WaitingBodies
from app.errors import Problem, problem
from app.keys import hash_key
from app.publishable.limits import RateLimits
from app.publishable.settings import PublishableKey, PublishableKeys
from app.security import presented_key
from storage import clock

PUBLIC = "/public/"
BODY_BYTES = 65_536
"""As much as a browser sends as a page goes away (``sendBeacon``)."""
WAITING_BYTES = 16 << 20
"""Bodies that are not complete yet may take so much, all together."""
PREFLIGHT_S = 600
OUTCOMES_PER_REQUEST = 5
"""Of each request that a key or a visitor may make, so many outcomes may be told."""

_FOREIGN = "this key is for other origins: add yours to a key with `nextbest keys publish --origin`"
_NO_ORIGIN = "this key is for pages: a request without an Origin needs a key made with --apps"


@dataclass
class PublicGate:
    """ASGI middleware: for everything under ``/public/`` a publishable key, for its origins, not too often.

    ``keys`` gives the publishable keys in force, ``None`` while they are not known yet. Requests to other paths go to
    ``other``.
    """

    app: ASGIApp
    other: ASGIApp
    keys: Callable[[], PublishableKeys | None]
    body_bytes: int = BODY_BYTES
    bodies: WaitingBodies = field(default_factory=lambda: WaitingBodies(WAITING_BYTES))
    """Apart from those of back ends, which pages that send slowly are not to hold up."""
    limits: RateLimits = field(default_factory=RateLimits)
    used: set[str] = field(default_factory=set)
    """Ids of keys that were used; whoever notes them elsewhere takes them out."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PUBLIC):
            await self.other(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        keys = self.keys()
        if keys is None:
            # Nothing is known of any origin, and the answer tells nothing: every page may read that it is to wait.
            await problem(503, "not ready yet")(
                scope, receive, _readable_by(origin, send) if origin else send
            )
            return
        # A page of a known origin may read what is wrong, whichever key it has.
        told = _readable_by(origin, send) if origin in keys.origins else send
        key = keys.by_hash.get(hash_key(_key_of(scope, headers)))
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(origin, keys.origins if key is None else key.origins)(scope, receive, told)
            return
        if key is not None and key.is_over(clock.to_datetime(clock.now_ms())):
            key = None
        refusal = self._refusal(key, origin, headers)
        if refusal is not None or key is None:
            await (refusal or problem(401, ""))(scope, receive, told)
            return
        scope["public_caller"] = PublicCaller(key, self.limits)
        self.used.add(key.key_id)
        await self.bodies.run(self.app, scope, receive, told, self.body_bytes, in_memory=True)

    def _refusal(
        self, key: PublishableKey | None, origin: str, headers: dict[bytes, bytes]
    ) -> Response | None:
        """Say why a request may not come in; ``None`` if it may."""
        if key is None:
            return problem(401, "send a publishable key (nb_pub_...) as '?key=KEY' or 'X-API-Key: KEY'")
        if not origin and not key.apps:
            return problem(403, _NO_ORIGIN)
        if origin and origin not in key.origins:
            return problem(403, _FOREIGN)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and (len(length) > 18 or int(length) > self.body_bytes):
            return problem(413, f"the body is longer than the {self.body_bytes} bytes that are taken")
        wait_s = self.limits.take(key.limited_as, key.key_per_minute)
        return _too_often(wait_s) if wait_s else None


@dataclass(frozen=True, slots=True)
class PublicCaller:
    """The caller: a publishable key, and what is left to its visitors."""

    key: PublishableKey
    limits: RateLimits

    def count(self, customer_id: str) -> None:
        """Count a request of a visitor or customer. Raises ``Problem`` (429)."""
        name = f"{self.key.limited_as} {customer_id}"
        self._take(name, self.key.visitor_per_minute, 1, "this visitor has asked too often")

    def count_outcomes(self, customer_id: str, count: int) -> None:
        """Count outcomes of a visitor or customer, apart from requests, so that decisions go on.

        Raises ``Problem`` (429).
        """
        key, too_many = self.key, "has told too many outcomes"
        visitors, keys = (OUTCOMES_PER_REQUEST * n for n in (key.visitor_per_minute, key.key_per_minute))
        self._take(f"{key.limited_as} {customer_id} outcomes", visitors, count, f"this visitor {too_many}")
        self._take(f"{key.limited_as} outcomes", keys, count, f"this key {too_many}")

    def _take(self, name: str, per_minute: int, count: int, too_often: str) -> None:
        wait_s = self.limits.take(name, per_minute, count)
        if wait_s:
            refusal = Problem(429, f"{too_often}: wait {wait_s} s")
            refusal.headers = {"Retry-After": str(wait_s)}
            raise refusal


class AllowPublishable:
    """A dependency: the publishable key of the request."""

    async def __call__(self, request: Request) -> PublicCaller:
        """Return who asks."""
        caller = request.scope["public_caller"]
        assert isinstance(caller, PublicCaller)
        return caller


def _too_often(wait_s: int) -> Response:
    answer = problem(429, f"this key has asked too often: wait {wait_s} s")
    answer.headers["Retry-After"] = str(wait_s)
    return answer


def _key_of(scope: Scope, headers: dict[bytes, bytes]) -> str:
    # The address is where a key may stand that anybody may read, and the only place that `sendBeacon` has for it.
    in_address = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("key", [])
    return in_address[0] if len(in_address) == 1 else presented_key(headers)


def _preflight(origin: str, origins: frozenset[str]) -> Response:
    if origin not in origins:
        return problem(403, _FOREIGN)
    allowed = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "authorization, content-type, x-api-key, x-request-id",
        "Access-Control-Max-Age": str(PREFLIGHT_S),
    }
    return Response(status_code=204, headers=allowed)


def _readable_by(origin: str, send: Send) -> Send:
    """Let pages of an origin read the answer."""
    added = [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        # `sendBeacon` sends cookies if there are any, so browsers ask for this; no cookie means anything here.
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"retry-after, x-request-id"),
        (b"vary", b"origin"),
    ]

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return told
