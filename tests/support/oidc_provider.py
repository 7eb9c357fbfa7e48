"""An OpenID provider on loopback, whose tokens tests can spoil."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.support.installation import free_port
from tests.support.waiting import eventually

CLIENT, SECRET = "nextbest console", "s3cret/of:the+client"


@dataclass
class OidcProvider:
    """The provider. Whoever comes is signed in as ``claims``; ``spoil`` changes a token's claims before it is signed.

    ``signed_by``: the key of tokens, of those in ``published``, if it is not the first of them. ``asked``: requests of
    each path.
    """

    issuer: str
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-17", "name": "Ada", "groups": ["nb-ops"]}
    )
    published: list[RSAKey | ECKey] = field(
        default_factory=lambda: [RSAKey.generate_key(2048, {"kid": "first", "alg": "RS256"})]
    )
    signed_by: RSAKey | ECKey | OctKey | None = None
    algorithm: str = "RS256"
    spoil: Callable[[dict[str, Any]], None] = lambda claims: None
    extra: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def app(self) -> Starlette:
        """Build its application."""
        paths = {
            "/.well-known/openid-configuration": self.describe,
            "/authorize": self.authorize,
            "/token": self.token,
            "/keys": self.keys,
        }
        return Starlette(routes=[Route(p, handler, methods=["GET", "POST"]) for p, handler in paths.items()])

    async def describe(self, request: Request) -> Response:
        """Describe itself."""
        self.asked.append("describe")
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/leave",
            **self.extra,
        }
        return JSONResponse(found, self.status)

    async def authorize(self, request: Request) -> Response:
        """Sign somebody in, and send the browser back with a code."""
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["client_id"] == CLIENT
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"]})
        return RedirectResponse(f"{query['redirect_uri']}?{back}", 303)

    async def token(self, request: Request) -> Response:
        """Exchange a code, once, for its client and its verifier."""
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        query = self.codes.pop(form["code"], None)
        if query is None or query["redirect_uri"] != form["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        digest = sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != query["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        given = base64.b64decode(request.headers.get("authorization", "")[6:]).decode()
        if given != f"{urlencode({'': CLIENT})[1:]}:{urlencode({'': SECRET})[1:]}":
            return JSONResponse({"error": "invalid_client"}, 401)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
            **self.claims,
        }
        self.spoil(claims)
        return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": self._sign(claims)})

    async def keys(self, request: Request) -> Response:
        """Publish the keys."""
        self.asked.append("keys")
        return JSONResponse(KeySet(list(self.published)).as_dict(private=False))

    def _sign(self, claims: dict[str, Any]) -> str:
        key = self.signed_by or self.published[0]
        header = {"alg": self.algorithm} | ({"kid": key.kid} if key.kid else {})
        if self.algorithm == "none":
            unsigned = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg":"none"}',)]
            body = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key("x" * 32)).split(".")[1]
            return f"{unsigned[0]}.{body}."
        return jwt.encode(header, claims, key, algorithms=[self.algorithm])


@asynccontextmanager
async def oidc_provider() -> AsyncIterator[OidcProvider]:
    """Serve a provider on loopback until the block ends."""
    port = free_port()
    provider = OidcProvider(f"http://127.0.0.1:{port}")
    server = uvicorn.Server(uvicorn.Config(provider.app(), port=port, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve())
    try:

        async def started() -> bool:
            return server.started or task.done()

        await eventually(started, "the provider to be started")
        yield provider
    finally:
        server.should_exit = True
        await task
