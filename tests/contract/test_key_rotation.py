"""Rotation of publishable keys and secrets of customers' tokens: old and new are taken until the old one ends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey
from sqlalchemy import text

from app.keys import KeyNotFound
from app.publishable.store import PublishableStore
from storage import clock
from storage.postgres import transaction
from tests.support.api import Instance, Nextbest, problem_of
from tests.support.publishable import SECRET, VISITOR, Page, publish, sign
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = "/v1/publishable-keys"
BODY = {"placement": "home", "visitor_id": VISITOR}


def later(**by: float) -> str:
    return (datetime.now(UTC) + timedelta(**by)).isoformat()


async def key_id_of(api: Instance, key: str) -> str:
    """The id of the newest key in force, which ``key`` must be."""
    found = (await api.ok("GET", KEYS))["keys"][-1]
    assert key not in str(found)
    assert SECRET not in str(found)
    return str(found["key_id"])


async def rotate(api: Instance, key_id: str, what: str = "rotate", **body: Any) -> Any:
    answer = await api.ok("POST", f"{KEYS}/{key_id}/{what}", json={"until": later(hours=1)} | body)
    await api.state.refresh()
    return answer


async def status(api: Instance, key: str, **who: str) -> int:
    return (await Page(api, key).post("decisions", {"placement": "home"} | (who or BODY))).status_code


async def test_both_keys_are_taken_until_the_old_one_ends(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = shop.api
    old = await publish(api)
    old_id = await key_id_of(api, old)
    made = await rotate(api, old_id)
    assert made["key"].startswith("nb_pub_")
    assert made["key_id"] != old_id
    assert [await status(api, key) for key in (old, made["key"])] == [200, 200]
    assert [await status(api, key, customer_token=sign()) for key in (old, made["key"])] == [200, 200]
    listed = {one["key_id"]: one for one in (await api.ok("GET", KEYS))["keys"]}
    assert listed[made["key_id"]]["ends_at"] is None
    assert listed[old_id]["ends_at"] > later(minutes=50)
    assert {name: listed[old_id][name] for name in ("placements", "origins", "name")} == {
        name: listed[made["key_id"]][name] for name in ("placements", "origins", "name")
    }
    # It ends also where nothing is read any more.
    now_ms = clock.now_ms()
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now_ms", lambda: now_ms + 3_601_000)
        assert [await status(api, key) for key in (old, made["key"])] == [401, 200]
    problem_of(await api.call("POST", f"{KEYS}/{old_id}/rotate", json={"until": later(hours=1)}), 404)


async def test_keys_that_were_rotated_from_one_another_share_their_rates(api: Instance) -> None:
    keys = [await publish(api, visitor_per_minute=2)]
    for _ in range(2):
        keys.append((await rotate(api, await key_id_of(api, keys[-1])))["key"])
    assert [await status(api, key) for key in keys] == [200, 200, 429]
    assert await status(api, await publish(api, visitor_per_minute=2)) == 200


async def test_a_key_that_ends_now_is_refused_everywhere(shop: Nextbest) -> None:
    old = await publish(shop.api)
    async with shop.another() as other:
        made = await rotate(shop.api, await key_id_of(shop.api, old), until=later())

        async def refused() -> bool:
            return [await status(one, old) for one in (shop.api, other)] == [401, 401]

        await eventually(refused, "the old key to be refused by both")
        await other.state.refresh()
        assert await status(other, made["key"]) == 200


async def test_tokens_of_both_secrets_are_taken_until_the_old_one_ends(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = shop.api
    key = await publish(api)
    key_id = await key_id_of(api, key)
    secret = (await rotate(api, key_id, "rotate-tokens"))["secret"]
    assert len(secret) >= 43
    for signed_with in (SECRET, secret):
        assert await status(api, key, customer_token=sign(secret=signed_with)) == 200
    assert await status(api, key, customer_token=sign(secret="x" * 43)) == 401
    expired = {"iat": 1_000_000, "exp": 1_000_300}
    assert await status(api, key, customer_token=sign(secret=SECRET, **expired)) == 401
    (found,) = [one for one in (await api.ok("GET", KEYS))["keys"] if one["key_id"] == key_id]
    assert len(found["tokens"]["earlier_end_at"]) == 1
    assert secret not in str(found)
    now_ms = clock.now_ms()
    with monkeypatch.context() as patched:
        patched.setattr(clock, "now_ms", lambda: now_ms + 3_601_000)
        assert await status(api, key, customer_token=sign(secret=SECRET)) == 401
        assert await status(api, key, customer_token=sign(secret=secret)) == 200


async def test_a_secret_changes_for_the_keys_that_pages_may_have_still(api: Instance) -> None:
    old = await publish(api)
    made = await rotate(api, await key_id_of(api, old))
    own = "a secret that only the back end of another shop knows"
    stranger = await publish(api, tokens={"algorithm": "HS256", "key": own})
    secret = (await rotate(api, made["key_id"], "rotate-tokens", until=later(hours=2)))["secret"]
    for key in (old, made["key"]):
        assert await status(api, key, customer_token=sign(secret=secret)) == 200
        assert await status(api, key, customer_token=sign(secret=SECRET)) == 200
    again = (await rotate(api, made["key_id"], "rotate-tokens", until=later()))["secret"]
    for key in (old, made["key"]):
        taken = [await status(api, key, customer_token=sign(secret=one)) for one in (again, secret, SECRET)]
        assert taken == [200, 401, 401], "without a grace nothing of before is taken"
    assert await status(api, stranger, customer_token=sign(secret=own)) == 200


async def test_the_trail_says_who_rotated_what(api: Instance) -> None:
    key_id = await key_id_of(api, await publish(api))
    made = await rotate(api, key_id)
    await rotate(api, made["key_id"], "rotate-tokens")
    tokens, key = (await api.ok("GET", "/v1/privacy/actions?limit=2", role="ops"))["actions"]
    assert {(one["action"], one["author"]) for one in (tokens, key)} == {("rotated", "test admin")}
    assert key["details"] == {"what": "publishable key", "key_id": key_id, "made": made["key_id"]}
    assert tokens["details"] == {"what": "secret of customers' tokens", "key_id": made["key_id"]}


async def test_a_secret_that_an_earlier_version_stored_is_changed(api: Instance) -> None:
    key = await publish(api)
    key_id = await key_id_of(api, key)
    async with transaction(api.state.engine) as connection:
        # Without what it did not know of, and what has a default now.
        query = "UPDATE publishable_keys SET settings = settings #- '{tokens,audience}' WHERE key_id = :id"
        await connection.execute(text(query), {"id": key_id})
    secret = (await rotate(api, key_id, "rotate-tokens", until=later()))["secret"]
    taken = [await status(api, key, customer_token=sign(secret=one)) for one in (secret, SECRET)]
    assert taken == [200, 401]


async def test_tokens_may_be_checked_with_a_public_key_from_now_on(api: Instance) -> None:
    key = await publish(api)
    key_id = await key_id_of(api, key)
    private = ECKey.generate_key("P-256")
    for wrong in (private.as_pem(private=True).decode(), "no key"):
        refused = await api.call(
            "POST",
            f"{KEYS}/{key_id}/rotate-tokens",
            json={"until": later(hours=1), "public_key": wrong},
        )
        problem_of(refused, 422, "public_key")
    public_key = private.as_pem(private=False).decode()
    assert (await rotate(api, key_id, "rotate-tokens", public_key=public_key))["secret"] is None
    (found,) = [one for one in (await api.ok("GET", KEYS))["keys"] if one["key_id"] == key_id]
    assert found["tokens"]["algorithm"] == "ES256"
    assert await status(api, key, customer_token=sign(secret=SECRET)) == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "until"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": later(days=400)}, "until"),
        ({"until": "soon"}, "until"),
        ({"until": "2026-01-01"}, "until"),
        ({"until": later(hours=1), "grace": 5}, "grace"),
    ],
)
async def test_what_is_no_rotation_changes_nothing(api: Instance, body: dict[str, Any], field: str) -> None:
    key_id = await key_id_of(api, await publish(api))
    before = await api.ok("GET", KEYS)
    for what in ("rotate", "rotate-tokens"):
        problem_of(await api.call("POST", f"{KEYS}/{key_id}/{what}", json=body), 422, field)
    assert await api.ok("GET", KEYS) == before


async def test_what_takes_no_tokens_has_no_secret_to_rotate(api: Instance) -> None:
    key_id = await key_id_of(api, await publish(api, tokens=None))
    body = {"until": later(hours=1)}
    refused = problem_of(await api.call("POST", f"{KEYS}/{key_id}/rotate-tokens", json=body), 404)
    assert "takes no tokens" in refused["detail"]
    problem_of(await api.call("POST", f"{KEYS}/none/rotate", json=body), 404)
    with pytest.raises(KeyNotFound, match="keys have the name 'tests'"):
        await PublishableStore(api.state.engine).rotate("tests", 1.0, "tests")
