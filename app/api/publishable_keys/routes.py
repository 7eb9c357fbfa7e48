"""Publishable keys, and the rotation of keys and of the secrets of customers' tokens."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends

from app.api.body import JsonRoute
from app.api.deps import State, problems
from app.api.publishable_keys.schemas import (
    KeyRotation,
    PublishableKeyOut,
    PublishableKeysOut,
    RotatedKey,
    RotatedTokens,
    TokensOut,
    TokensRotation,
)
from app.api.schemas import Id, answer_of
from app.errors import Problem
from app.keys import ApiKey, KeyNotFound
from app.publishable.store import PublishableRecord
from app.security import Allow
from storage import clock

MAX_GRACE_S = 366 * 86_400
MAX_BEFORE_S = 60
"""So long ago may a moment be that was meant to be the present one."""

router = APIRouter(prefix="/v1/publishable-keys", tags=["publishable keys"], route_class=JsonRoute)

Admin = Annotated[ApiKey, Depends(Allow())]


@router.get("", responses=problems())
async def read_publishable_keys(state: State, key: Admin) -> PublishableKeysOut:
    """The publishable keys in force, with what they open; neither keys nor secrets are in it."""
    return PublishableKeysOut(keys=[_shown(record) for record in await state.publishable_store.records()])


@router.post("/{key_id}/rotate", responses=problems(404, body=True))
async def rotate_publishable_key(key_id: Id, body: KeyRotation, state: State, key: Admin) -> RotatedKey:
    """Make a key that opens the same. Both are taken until the old one ends, in every process."""
    try:
        made, made_id = await state.publishable_store.rotate(key_id, _grace_s(body.until), key.name)
    except KeyNotFound as error:
        raise Problem(404, str(error)) from None
    return RotatedKey(key=made, key_id=made_id)


@router.post("/{key_id}/rotate-tokens", responses=problems(404, body=True))
async def rotate_customer_tokens(key_id: Id, body: TokensRotation, state: State, key: Admin) -> RotatedTokens:
    """Check customers' tokens with another secret or public key, and with that of before until a time.

    So it is for all keys that share the secret since one was rotated from the other.
    """
    try:
        grace_s = _grace_s(body.until)
        secret = await state.publishable_store.rotate_tokens(key_id, grace_s, key.name, body.public_key)
    except KeyNotFound as error:
        raise Problem(404, str(error)) from None
    except ValueError as error:
        raise Problem(422, str(error), "public_key") from None
    return RotatedTokens(secret=secret)


def _grace_s(until: datetime) -> float:
    grace_s = until.timestamp() - clock.now_ms() / 1000
    if not -MAX_BEFORE_S <= grace_s <= MAX_GRACE_S:
        raise Problem(422, "must lie in the year that comes, or be the present moment", "until")
    return max(grace_s, 0.0)


def _shown(record: PublishableRecord) -> PublishableKeyOut:
    settings, tokens = record.settings, record.settings.tokens
    now = clock.to_datetime(clock.now_ms())
    checked = tokens and TokensOut(
        algorithm=tokens.algorithm,
        audience=tokens.audience,
        earlier_end_at=[one.ends_at for one in record.earlier if one.ends_at > now],
    )
    opened = {name: getattr(settings, name) for name in ("placements", "origins", "apps")}
    return answer_of(PublishableKeyOut, record, tokens=checked, **opened)
