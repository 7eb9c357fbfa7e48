"""Publishable keys, as they travel: without the keys, which only their makers have, and without secrets."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas import Body, Instant, examples, shown

_KEY = {
    "key_id": "1f0c9b7e2f4f0a8f",
    "name": "shop",
    "placements": ["home", "cart"],
    "origins": ["https://shop.example"],
    "apps": False,
    "tokens": {"algorithm": "HS256", "audience": "nextbest", "earlier_end_at": ["2026-05-31T18:00:00Z"]},
    "created_at": "2026-03-01T09:30:00Z",
    "last_used_at": "2026-05-01T09:30:00Z",
    "ends_at": None,
}


class TokensOut(BaseModel):
    """The check of customers' tokens."""

    algorithm: str
    audience: str
    earlier_end_at: list[datetime] = Field(description="when earlier secrets, which are taken still, end")


class PublishableKeyOut(BaseModel):
    """A publishable key in force."""

    key_id: str
    name: str
    placements: list[str]
    origins: list[str]
    apps: bool
    tokens: TokensOut | None = Field(description="null if it takes no customers' tokens")
    created_at: datetime
    last_used_at: datetime | None
    ends_at: datetime | None = Field(description="of one that was rotated")


class PublishableKeysOut(BaseModel):
    """All publishable keys in force, the oldest first."""

    model_config = shown({"keys": [_KEY]})

    keys: list[PublishableKeyOut]


class KeyRotation(Body):
    """A rotation of a key: the old one is taken until then."""

    model_config = examples({"until": "2026-05-31T18:00:00Z"})

    until: Instant = Field(description="in the year that comes; the present moment ends the old one at once")


class TokensRotation(KeyRotation):
    """A rotation of what customers' tokens are checked with."""

    model_config = examples({"until": "2026-05-31T18:00:00Z"})

    public_key: str | None = Field(
        None, max_length=10_000, description="in PEM; a secret is made if it is left out"
    )


class RotatedKey(BaseModel):
    """The new key. It is answered this once: only its hash is stored."""

    model_config = shown({"key": "nb_pub_...", "key_id": "2c9b7e2f4f0a8f01"})

    key: str
    key_id: str


class RotatedTokens(BaseModel):
    """The new secret, answered this once."""

    model_config = shown({"secret": "..."})

    secret: str | None = Field(description="null where tokens are checked with a public key")
