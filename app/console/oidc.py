"""Signing in with OpenID Connect: the authorization code flow of OpenID Connect Core 1.0, with PKCE (RFC 7636).

Nothing of a sign-in that is under way is kept here: what has to be the same at its end stands in a cookie of the
browser that began it, so any process may answer the way back.
"""

import base64
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.config import Settings, parse_roles
from app.keys import ROLES, Role

ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
]
"""Signatures with a public key, whatever a token says of itself; never ``none``, nor the secret that clients have."""
LEEWAY_S = 60
"""The most that the provider's clock may differ from ours."""
KNOWN_FOR_S = 3600.0
KEYS_AGAIN_S = 10.0
"""A token whose key is not known makes the provider's keys be read again, at most so often."""
TIMEOUT_S = 5.0
MAX_NAME_CHARS = 128

Refusal = Literal["away", "cancelled", "stale", "refused", "role"]
"""Why nobody was let in: the provider does not answer; it, or the person, said no; the sign-in was not begun in this
browser, or too long ago; what the provider sent is not right; the person has no role here."""


class SignInRefused(Exception):
    """Nobody is let in. ``why`` is for the person, the message for the operator; it names nobody."""

    def __init__(self, why: Refusal, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """The client that nextbest is at a provider, and the role that a value of a claim stands for (the first counts)."""

    issuer: str
    client_id: str
    client_secret: str | None
    role_claim: str
    roles: Mapping[str, Role]
    scopes: str = "openid profile email"


def provider_of(settings: Settings) -> "Provider | None":
    """Return the provider that people sign in with, if the settings name one."""
    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        return None
    named = parse_roles(settings.oidc_roles)
    return Provider(
        OidcSettings(
            settings.oidc_issuer,
            settings.oidc_client_id,
            settings.oidc_client_secret,
            settings.oidc_role_claim,
            {value: role for value, name in named.items() for role in ROLES if role == name},
        )
    )


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom a provider vouches for: ``subject`` is the provider's own id, ``name`` the author of changes."""

    subject: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Attempt:
    """The values that the browser keeps while it is at the provider."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Attempt":
        """Make one that nobody can guess."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))

    @classmethod
    def from_cookie(cls, value: str) -> "Attempt | None":
        """Read one from the cookie; ``None`` if it is none."""
        parts = value.split(".")
        return cls(*parts) if len(parts) == 3 and all(parts) else None

    def to_cookie(self) -> str:
        """Write it for the cookie."""
        return f"{self.state}.{self.nonce}.{self.verifier}"

    @property
    def challenge(self) -> str:
        """The challenge that the verifier answers (S256)."""
        return base64.urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass(slots=True)
class Provider:
    """An OpenID provider. ``client`` makes the HTTP client; every method raises ``SignInRefused``."""

    settings: OidcSettings
    client: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(timeout=TIMEOUT_S)
    clock_s: Callable[[], float] = time.time
    ticks_s: Callable[[], float] = time.monotonic
    _document: tuple[float, dict[str, Any]] | None = field(default=None, init=False)
    _keys: tuple[float, KeySet] | None = field(default=None, init=False)

    async def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """Build the provider's address at which a sign-in begins."""
        document = await self._discover()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(document["authorization_endpoint"], query)

    async def person(self, attempt: Attempt | None, answer: Mapping[str, str], redirect_uri: str) -> Person:
        """Find out who came back from the provider, with what it put into the address (``answer``)."""
        if attempt is None or not hmac.compare_digest(
            answer.get("state", "").encode(), attempt.state.encode()
        ):
            raise SignInRefused("stale", "the sign-in was not begun in this browser, or too long ago")
        if "code" not in answer:
            raise SignInRefused(
                "cancelled", f"the provider answered {ascii(answer.get('error', 'nothing'))[:100]}"
            )
        document = await self._discover()
        issuer = answer.get("iss")  # RFC 9207, where the provider has it
        if issuer is not None and issuer != self.settings.issuer:
            raise SignInRefused("refused", "the answer is of another issuer")
        token = await self._exchange(document, answer["code"], attempt, redirect_uri)
        return self._person_of(await self._claims(document, token, attempt.nonce))

    async def leave_address(self, back_to: str) -> str | None:
        """Build the provider's address at which its own session ends; ``None`` if it has none, or is away."""
        try:
            endpoint = (await self._discover()).get("end_session_endpoint")
        except SignInRefused:
            return None
        query = {"client_id": self.settings.client_id, "post_logout_redirect_uri": back_to}
        return _with_query(endpoint, query) if isinstance(endpoint, str) else None

    async def _discover(self) -> dict[str, Any]:
        """Read the provider's own description (OpenID Connect Discovery 1.0)."""
        if self._document is not None and self.ticks_s() - self._document[0] < KNOWN_FOR_S:
            return self._document[1]
        found = await self._read(
            "GET", f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        )
        if found.get("issuer") != self.settings.issuer:
            raise SignInRefused("refused", f"the provider names itself {ascii(found.get('issuer'))[:200]}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(found.get(name), str):
                raise SignInRefused("refused", f"the provider's description has no {name}")
        self._document = self.ticks_s(), found
        return found

    async def _exchange(
        self, document: Mapping[str, Any], code: str, attempt: Attempt, redirect_uri: str
    ) -> str:
        """Exchange the code for the ID token."""
        settings = self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.verifier,
        }
        auth = None
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if settings.client_secret is None:
            form["client_id"] = settings.client_id
        elif "client_secret_basic" in methods:
            auth = _basic(settings.client_id, settings.client_secret)
        else:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        found = await self._read("POST", document["token_endpoint"], data=form, auth=auth)
        token = found.get("id_token")
        if not isinstance(token, str):
            raise SignInRefused("refused", "the provider sent no ID token")
        return token

    async def _claims(self, document: Mapping[str, Any], token: str, nonce: str) -> dict[str, Any]:
        """Check an ID token (OpenID Connect Core 1.0, 3.1.3.7), and return its claims."""
        settings = self.settings
        claims = await self._verify(document, token)
        rules: dict[str, Any] = {
            "iss": {"essential": True, "value": settings.issuer},
            "sub": {"essential": True},
            "aud": {"essential": True, "value": settings.client_id},
            "exp": {"essential": True},
            "iat": {"essential": True},
            "nonce": {"essential": True, "value": nonce},
        }
        try:
            jwt.JWTClaimsRegistry(now=int(self.clock_s()), leeway=LEEWAY_S, **rules).validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise SignInRefused("refused", f"the ID token is not right: {type(error).__name__}") from None
        audience = claims["aud"]
        party = claims.get("azp", settings.client_id)
        if party != settings.client_id or (
            isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
        ):
            raise SignInRefused("refused", "the ID token was made for another client")
        return claims

    async def _verify(self, document: Mapping[str, Any], token: str) -> dict[str, Any]:
        keys = await self._read_keys(document, KNOWN_FOR_S)
        try:
            return _decode(token, keys)
        except SignInRefused:
            again = await self._read_keys(document, KEYS_AGAIN_S)
            if again is keys:
                raise
            return _decode(token, again)

    async def _read_keys(self, document: Mapping[str, Any], known_for_s: float) -> KeySet:
        if self._keys is not None and self.ticks_s() - self._keys[0] < known_for_s:
            return self._keys[1]
        found: Any = await self._read("GET", document["jwks_uri"])
        try:
            keys = KeySet.import_key_set(found)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            raise SignInRefused("refused", "the provider's keys cannot be read") from None
        self._keys = self.ticks_s(), keys
        return keys

    def _person_of(self, claims: Mapping[str, Any]) -> Person:
        settings = self.settings
        values = claimed_values(claims, settings.role_claim)
        role = next((role for value, role in settings.roles.items() if value in values), None)
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise SignInRefused("refused", "the ID token names nobody ('sub')")
        if role is None:
            raise SignInRefused("role", f"no value of {settings.role_claim!r} stands for a role")
        names = (claims.get(name) for name in ("name", "preferred_username", "email", "sub"))
        name = next(name for name in (_printable(name) for name in names) if name)
        return Person(subject, name, role)

    async def _read(self, method: str, url: str, **arguments: Any) -> dict[str, Any]:
        """Ask the provider for an object."""
        try:
            async with self.client() as client:
                answer = await client.request(
                    method, url, headers={"Accept": "application/json"}, **arguments
                )
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SignInRefused("away", f"the provider does not answer: {type(error).__name__}") from None
        except ValueError:
            raise SignInRefused("away", f"the provider answered {answer.status_code} without JSON") from None
        if answer.status_code != 200 or not isinstance(found, dict):
            told = ascii(found.get("error", "")) if isinstance(found, dict) else ""
            why: Refusal = "away" if answer.status_code >= 500 else "refused"
            raise SignInRefused(why, f"the provider answered {answer.status_code} {told[:100]}".rstrip())
        return found


def claimed_values(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """Read the texts of a claim: one of this name, else the one at this path (``realm_access.roles``)."""
    found: Any = claims
    for name in [path] if path in claims else path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list) else [found]
    return frozenset(value for value in values if isinstance(value, str))


def _decode(token: str, keys: KeySet) -> dict[str, Any]:
    try:
        return dict(jwt.decode(token, keys, algorithms=ALGORITHMS).claims)
    except (JoseError, ValueError, TypeError, KeyError):
        raise SignInRefused("refused", "the ID token is not signed by a key of the provider") from None


def _basic(client_id: str, secret: str) -> httpx.BasicAuth:
    # RFC 6749, 2.3.1: both are encoded as in forms before they are joined.
    encoded = (urlencode({"": part})[1:] for part in (client_id, secret))
    return httpx.BasicAuth(*encoded)


def _with_query(address: str, query: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"


def _printable(name: object) -> str:
    if not isinstance(name, str):
        return ""
    return "".join(sign for sign in name if sign.isprintable()).strip()[:MAX_NAME_CHARS]
