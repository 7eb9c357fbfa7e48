"""Tokens that name a customer: short-lived, signed by the shop's back end (JSON Web Tokens, RFC 7519)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from profiles.customer_id import normal_customer_id
from profiles.limits import is_visitor

Algorithm = Literal["HS256", "RS256", "ES256", "Ed25519"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2048
LEEWAY_S = 30
"""The most that the clock of a token's maker may differ from ours."""
MAX_LIFETIME_S = 3600
"""A token that says that it is good for longer is refused: it is for a visit, not for ever."""


class InvalidToken(Exception):
    """A token is not valid. The message says why, and nothing that its sender does not know."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """The customer whom a token names, and the placements that it is for (``None``: all of the key)."""

    customer_id: str
    placements: frozenset[str] | None


def check_token_key(algorithm: Algorithm, text: str) -> Key:
    """Read a secret or a public key in PEM. Raises ``ValueError`` if it does not fit the algorithm."""
    if algorithm == "HS256":
        secret = text.encode()
        if len(secret) < MIN_SECRET_BYTES or b"-----BEGIN" in secret:
            raise ValueError(
                f"a secret of HS256 is {MIN_SECRET_BYTES} random bytes or more, and no key in PEM"
            )
        return OctKey.import_key(secret)
    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key: only its maker may have it; give the public key (PEM)")
    try:
        return _public_key(algorithm, text)
    except (JoseError, ValueError, TypeError) as error:
        raise ValueError(f"not a public key for {algorithm} in PEM: {error}") from None


def algorithm_of(pem: str) -> Algorithm:
    """Find the algorithm that a public key is for. Raises ``ValueError`` if there is none."""
    reasons = []
    for algorithm in ALGORITHMS[1:]:
        try:
            check_token_key(algorithm, pem)
        except ValueError as error:
            reasons.append(str(error))
        else:
            return algorithm
    raise ValueError(reasons[0] if "private key" in reasons[0] else "; ".join(reasons))


def _public_key(algorithm: Algorithm, text: str) -> Key:
    if algorithm == "RS256":
        rsa = RSAKey.import_key(text)
        if (bits := rsa.public_key.key_size) < MIN_RSA_BITS:
            raise ValueError(f"it has {bits} bits, and {MIN_RSA_BITS} is the least")
        return rsa
    if algorithm == "ES256":
        ec = ECKey.import_key(text)
        if ec.curve_name != "P-256":
            raise ValueError(f"its curve is {ec.curve_name}, not P-256")
        return ec
    okp = OKPKey.import_key(text)
    if okp.curve_name != "Ed25519":
        raise ValueError(f"its curve is {okp.curve_name}, not Ed25519")
    return okp


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """Checks tokens with one key, by the one algorithm that goes with it, whatever a token says of itself."""

    algorithm: Algorithm
    key: Key
    audience: str
    clock_s: Callable[[], float] = time.time

    def verify(self, token: str) -> Bearer:
        """Check a token. Raises ``InvalidToken``."""
        try:
            claims = jwt.decode(token, self.key, algorithms=[self.algorithm]).claims
        except (JoseError, ValueError, TypeError, KeyError):
            raise InvalidToken(f"is not a token signed by {self.algorithm} with this key's secret") from None
        self._check_times(claims)
        audience = claims.get("aud")
        if self.audience not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken(f"is for another audience ('aud'): this key takes {self.audience!r}")
        return Bearer(_subject(claims), _placements(claims))

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self.clock_s()
        made, ends = _seconds(claims, "iat"), _seconds(claims, "exp")
        starts = _seconds(claims, "nbf") if "nbf" in claims else made
        if ends + LEEWAY_S <= now:
            raise InvalidToken("has expired ('exp'): get a new one from your back end")
        if max(made, starts) - LEEWAY_S > now:
            raise InvalidToken("is not valid yet ('iat' or 'nbf'): look at the clock of its maker")
        if ends - made > MAX_LIFETIME_S:
            raise InvalidToken(f"is good for longer than {MAX_LIFETIME_S} seconds: make it for one visit")


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise InvalidToken(f"has no {name!r}: a number of seconds since 1970")
    return value


def _subject(claims: dict[str, Any]) -> str:
    subject = claims.get("sub")
    try:
        if not isinstance(subject, str):
            raise ValueError("it must be a text")
        customer_id = normal_customer_id(subject)
    except ValueError as error:
        raise InvalidToken(f"names no customer ('sub'): {error}") from None
    if is_visitor(customer_id):
        raise InvalidToken("names a visitor ('sub'): send 'visitor_id' for those, without a token")
    return customer_id


def _placements(claims: dict[str, Any]) -> frozenset[str] | None:
    named = claims.get("placements")
    if named is None:
        return None
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InvalidToken("has 'placements' that are no list of names")
    return frozenset(named)
