"""The settings of a publishable key: placements, origins, customers' tokens, and how often it may be used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.api.schemas import Id
from app.publishable.verifier import Algorithm, TokenVerifier, check_token_key

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
    role: Literal["publishable"] = "publishable"


@dataclass(frozen=True, slots=True)
class PublishableKeys:
    """All publishable keys in force, by their hash, and the origins of all of them."""

    by_hash: Mapping[bytes, PublishableKey] = field(default_factory=dict)
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, by_hash: Mapping[bytes, PublishableKey]) -> "PublishableKeys":
        """Gather the origins of keys."""
        return cls(by_hash, frozenset(o for key in by_hash.values() for o in key.origins))


def make_key(key_id: str, name: str, settings: PublishableSettings) -> PublishableKey:
    """Make a key ready for requests. Raises ``ValueError`` if its tokens could not be checked."""
    tokens = settings.tokens
    return PublishableKey(
        key_id=key_id,
        name=name,
        placements=frozenset(settings.placements),
        origins=frozenset(settings.origins),
        apps=settings.apps,
        key_per_minute=settings.key_per_minute,
        visitor_per_minute=settings.visitor_per_minute,
        verifier=None
        if tokens is None
        else TokenVerifier(tokens.algorithm, check_token_key(tokens.algorithm, tokens.key), tokens.audience),
    )
