"""The settings of a publishable key: placements, origins, customers' tokens, and how often it may be used."""

import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.schemas import Id
from app.publishable.verifier import (
    Algorithm,
    Bearer,
    InvalidToken,
    TokenVerifier,
    algorithm_of,
    check_token_key,
)

PREFIX = "nb_pub_"
DEFAULT_AUDIENCE = "nextbest"
KEY_PER_MINUTE = 6000
VISITOR_PER_MINUTE = 60

_ORIGIN = re.compile(r"(https?)://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def origin(text: str) -> str:
    """Return an origin as browsers send it. Raises ``ValueError`` for what is none, ``*`` and ``null`` among it."""
    found = _ORIGIN.fullmatch(text.strip().lower().removesuffix("/"))
    if found is None:
        raise ValueError(f"{text[:100]!r} is no origin: write scheme and host, such as https://shop.example")
    port = found[4] or ""
    if port and not 0 < int(port[1:]) < 65_536:
        raise ValueError(f"{text[:100]!r} has a port that there is not")
    # A browser leaves the usual port out.
    return f"{found[1]}://{found[2]}{'' if port == _DEFAULT_PORTS[found[1]] else port}"


class CustomerTokens(BaseModel):
    """The check of tokens that name a customer: one algorithm, one key, one audience."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: Algorithm
    key: str = Field(repr=False, description="HS256: the shared secret; others: the public key in PEM")
    audience: str = Field(DEFAULT_AUDIENCE, min_length=1, max_length=200)


def token_checks(audience: str, public_key: str | None = None) -> tuple[CustomerTokens, str | None]:
    """Make the check of tokens: with a public key (PEM), or with a secret that is made here, and returned.

    Raises ``ValueError`` if the public key is none.
    """
    if public_key is not None:
        return CustomerTokens(algorithm=algorithm_of(public_key), key=public_key, audience=audience), None
    secret = secrets.token_urlsafe(32)
    return CustomerTokens(algorithm="HS256", key=secret, audience=audience), secret


class PublishableSettings(BaseModel):
    """The settings of a publishable key, as they are stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    placements: list[Id] = Field(min_length=1, max_length=100)
    origins: list[Annotated[str, AfterValidator(origin)]] = Field(max_length=100)
    apps: bool = Field(False, description="whether requests without an origin are taken, as apps send them")
    tokens: CustomerTokens | None = None
    key_per_minute: int = Field(KEY_PER_MINUTE, ge=1, le=10_000_000)
    visitor_per_minute: int = Field(VISITOR_PER_MINUTE, ge=1, le=1_000_000)


@dataclass(frozen=True, slots=True)
class PublishableKey:
    """A publishable key in force. ``verifier``: checks customers' tokens; ``None`` if it takes none."""

    key_id: str
    name: str
    placements: frozenset[str]
    origins: frozenset[str]
    apps: bool
    key_per_minute: int
    visitor_per_minute: int
    verifier: TokenVerifier | None
    earlier: tuple[tuple[TokenVerifier, datetime], ...] = ()
    """Checks with secrets that were rotated, each until a time."""
    ends_at: datetime | None = None
    """When a key that was rotated becomes worthless."""
    role: Literal["publishable"] = "publishable"

    @property
    def limited_as(self) -> str:
        """The id under which requests are counted: keys that were rotated from one another have one between them."""
        return self.key_id.partition("-")[0]

    def is_over(self, now: datetime) -> bool:
        """Return whether the time of a rotated key is over, also while Postgres cannot be asked."""
        return self.ends_at is not None and self.ends_at <= now

    def verify(self, verifier: TokenVerifier, token: str, now: datetime) -> Bearer:
        """Check a token with ``verifier``, else with earlier secrets that are taken still. Raises ``InvalidToken``."""
        try:
            return verifier.verify(token)
        except InvalidToken:
            for earlier, ends_at in self.earlier:
                if ends_at > now:
                    with suppress(InvalidToken):
                        return earlier.verify(token)
            raise


@dataclass(frozen=True, slots=True)
class PublishableKeys:
    """All publishable keys in force, by their hash, and the origins of all of them."""

    by_hash: Mapping[bytes, PublishableKey] = field(default_factory=dict)
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, by_hash: Mapping[bytes, PublishableKey]) -> "PublishableKeys":
        """Gather the origins of keys."""
        return cls(by_hash, frozenset(o for key in by_hash.values() for o in key.origins))


def successor_id(key_id: str) -> str:
    """Make the id of a key that takes the place of another one; it begins as the id of the first one does."""
    return f"{key_id.partition('-')[0]}-{secrets.token_hex(4)}"


class EarlierTokens(BaseModel):
    """A check of tokens that was rotated, and when it ends, as they are stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: CustomerTokens
    ends_at: datetime


def make_key(
    key_id: str,
    name: str,
    settings: PublishableSettings,
    earlier: Sequence[EarlierTokens] = (),
    ends_at: datetime | None = None,
) -> PublishableKey:
    """Make a key ready for requests. Raises ``ValueError`` if its tokens could not be checked."""
    return PublishableKey(
        key_id=key_id,
        name=name,
        placements=frozenset(settings.placements),
        origins=frozenset(settings.origins),
        apps=settings.apps,
        key_per_minute=settings.key_per_minute,
        visitor_per_minute=settings.visitor_per_minute,
        verifier=None if settings.tokens is None else _verifier(settings.tokens),
        earlier=tuple((_verifier(one.tokens), one.ends_at) for one in earlier),
        ends_at=ends_at,
    )


def _verifier(tokens: CustomerTokens) -> TokenVerifier:
    return TokenVerifier(tokens.algorithm, check_token_key(tokens.algorithm, tokens.key), tokens.audience)
