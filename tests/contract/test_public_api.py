"""The way in for pages and apps: what a publishable key opens, and what it does not, whoever holds it."""

import base64
import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from app.api.public.schemas import PublicDecisionAnswer
from app.publishable.store import PublishableStore
from tests.support.api import Instance, decide, problem_of
from tests.support.publishable import SECRET, SHOP, VISITOR, Page, publish, sign
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "browsers.md").read_text(encoding="utf-8")
OTHER = "https://other.example"
"""The origin of another key."""
EVIL = "https://evil.example"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(api: Instance) -> Page:
    """A page of the shop, with a key for the placement `home`."""
    return Page(api, await publish(api))


async def preflight(api: Instance, origin: str, path: str = "/public/v1/decisions") -> Any:
    """Ask as a browser does before it sends what is no simple request."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    return await api.http.options(path, headers=headers)


async def test_a_visitor_is_answered_without_what_only_the_shop_may_know(page: Page) -> None:
    answer = await page.decide(context={"pages": ["deals"]})
    assert answer.keys() == {
        *("decision_id", "placement", "offers", "nothing_right_now", "degraded", "feedback_until")
    }
    assert answer["offers"]
    for offer in answer["offers"]:
        assert offer.keys() == {"offer_id", "rank", "treatment"}
        assert offer["treatment"]["title"] == offer["offer_id"]
        assert "script" not in offer["treatment"]
    record = await page.api.ok("GET", f"/v1/decisions/{answer['decision_id']}", role="scientist")
    assert record["customer_id"] == f"visitor:{VISITOR}"


async def test_a_limit_above_the_slots_is_said(page: Page) -> None:
    answer = await page.decide(limit=3)
    assert len(answer["offers"]) == 2
    (warning,) = answer["warnings"]
    assert warning["field"] == "limit"
    assert "2 slots" in warning["message"]
    assert warning["way_out"]
    PublicDecisionAnswer.model_validate(answer)
    assert "warnings" not in await page.decide(limit=2)


async def test_a_customer_comes_from_the_token_alone(page: Page) -> None:
    answer = await page.decide(customer_token=sign("ann"))
    record = await page.api.ok("GET", f"/v1/decisions/{answer['decision_id']}", role="scientist")
    assert record["customer_id"] == "ann"
    body = {"placement": "home", "customer_id": "ann", "visitor_id": VISITOR}
    problem_of(await page.post("decisions", body), 422, "customer_id")
    both = {"placement": "home", "customer_token": sign("ann"), "visitor_id": VISITOR}
    problem_of(await page.post("decisions", both), 422)
    problem_of(await page.post("decisions", {"placement": "home"}), 422)


@pytest.mark.parametrize("name", ["dry_run", "explain", "fields", "baseline", "deadline_ms"])
async def test_what_only_the_shop_may_ask_is_refused(page: Page, name: str) -> None:
    problem_of(
        await page.post("decisions", {"placement": "home", "visitor_id": VISITOR, name: True}), 422, name
    )


async def test_preflights_are_answered_for_the_origins_of_keys(page: Page) -> None:
    answer = await preflight(page.api, SHOP)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    assert {"content-type", "x-api-key"} <= {*answer.headers["Access-Control-Allow-Headers"].split(", ")}
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "origin" in answer.headers["Vary"]
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    for origin in (EVIL, "null", "*", "http://shop.example", "https://shop.example:8443", f"{SHOP}.evil"):
        refused = await preflight(page.api, origin)
        assert refused.status_code == 403
        assert "Access-Control-Allow-Origin" not in refused.headers
    other = Page(page.api, await publish(page.api, origins=[OTHER]))
    assert (await preflight(page.api, SHOP, f"/public/v1/feedback?key={other.key}")).status_code == 403
    assert (await preflight(page.api, OTHER, f"/public/v1/feedback?key={other.key}")).status_code == 204


async def test_nothing_else_answers_preflights(page: Page) -> None:
    answer = await preflight(page.api, SHOP, "/v1/decisions")
    assert answer.status_code == 401
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/json"])
async def test_beacons_are_taken_as_browsers_send_them(page: Page, content_type: str) -> None:
    decision = await page.decide()
    item = {"decision_id": decision["decision_id"], "offer_id": decision["offers"][0]["offer_id"]}
    body = {"visitor_id": VISITOR, "items": [item | {"outcome": "presented"}]}
    answer = await page.post("feedback", body, **{"Content-Type": content_type, "Cookie": "session=1"})
    assert answer.json()["items"][0]["status"] == "recorded"
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    html = await page.post("feedback", body, **{"Content-Type": "multipart/form-data"})
    problem_of(html, 415, "Content-Type")


@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
async def test_the_key_may_stand_in_a_header(page: Page, header: str) -> None:
    value = f"Bearer {page.key}" if header == "Authorization" else page.key
    body = {"placement": "home", "visitor_id": VISITOR}
    answer = await page.api.http.post(
        "/public/v1/decisions", json=body, headers={header: value, "Origin": SHOP}
    )
    assert answer.status_code == 200


async def test_errors_can_be_read_by_pages_of_the_shop(page: Page) -> None:
    unknown = await Page(page.api, "nb_pub_none").post("decisions", {})
    expired = await page.post("decisions", {"placement": "home", "customer_token": "x"})
    elsewhere = await page.post("decisions", {"placement": "desk", "visitor_id": VISITOR})
    wrong = await page.post("decisions", {})
    slow = Page(page.api, await publish(page.api, visitor_per_minute=1))
    await slow.decide()
    often = await slow.post("decisions", {"placement": "home", "visitor_id": VISITOR})
    for answer, status in ((unknown, 401), (expired, 401), (elsewhere, 403), (wrong, 422), (often, 429)):
        problem_of(answer, status)
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert 1 <= int(often.headers["Retry-After"]) <= 60
    assert "retry-after" in often.headers["Access-Control-Expose-Headers"]


async def test_other_origins_get_nothing(page: Page) -> None:
    body = {"placement": "home", "visitor_id": VISITOR}
    for origin in (EVIL, "null", "https://shop.example.evil", "https://SHOP.example"):
        answer = await Page(page.api, page.key, origin).post("decisions", body)
        problem_of(answer, 403)
        assert "Access-Control-Allow-Origin" not in answer.headers
    problem_of(await Page(page.api, page.key, None).post("decisions", body), 403)
    app = Page(page.api, await publish(page.api, origins=[], apps=True), None)
    assert (await app.post("decisions", body)).status_code == 200
    problem_of(await Page(page.api, app.key, SHOP).post("decisions", body), 403)


async def test_a_page_of_another_key_cannot_use_this_one(page: Page) -> None:
    """Both origins are known, so the page may read the refusal; but it is one."""
    await publish(page.api, origins=[OTHER])
    body = {"placement": "home", "visitor_id": VISITOR}
    problem_of(await Page(page.api, page.key, OTHER).post("decisions", body), 403)


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    """Write a token without a valid signature."""
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in (header, claims)]
    return ".".join([*parts, signature])


def now() -> int:
    """The time as tokens tell it."""
    return int(time.time())


async def test_tokens_that_are_not_valid_are_refused(page: Page) -> None:
    claims = {"sub": "ann", "aud": "nextbest", "iat": now(), "exp": now() + 300}
    signed = sign()
    head, payload, signature = signed.split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "bob"}).encode()).rstrip(b"=").decode()
    attacks = {
        "none": unsigned({"alg": "none"}, claims),
        "None": unsigned({"alg": "None"}, claims, signature),
        "no algorithm": unsigned({}, claims, signature),
        "another customer": f"{head}.{other}.{signature}",
        "no signature": f"{head}.{payload}.",
        "another secret": sign(secret="x" * 40),
        "another algorithm": jwt.encode(
            {"alg": "HS512"}, claims, OctKey.import_key(SECRET), algorithms=["HS512"]
        ),
        "its own key": unsigned({"alg": "HS256", "jwk": {"kty": "oct", "k": "eA"}}, claims, signature),
        "expired": sign(iat=now() - 400, exp=now() - 60),
        "without an end": sign(exp=None),
        "without a beginning": sign(iat=None),
        "for ever": sign(exp=now() + 100_000_000),
        "not yet": sign(iat=now() + 120, exp=now() + 300),
        "not before": sign(nbf=now() + 120),
        "for others": sign(aud="another service"),
        "for nobody": sign(aud=None),
        "of nobody": sign(None),
        "of a number": sign(7),
        "of a visitor": sign("Visitor:0123456789abcdef"),
        "an end that is a text": sign(exp=str(now() + 300)),
        "an end that is true": sign(exp=True),
        "no token": "x",
        "five parts": "a.b.c.d.e",
    }
    for attack, token in attacks.items():
        answer = await page.post("decisions", {"placement": "home", "customer_token": token})
        assert answer.status_code == 401, attack
        assert "customer_token" in answer.text, attack
    assert (await page.post("decisions", {"placement": "home", "customer_token": signed})).status_code == 200
    late = sign(iat=now() - 300, exp=now() - 5)  # clocks differ a little
    assert (await page.post("decisions", {"placement": "home", "customer_token": late})).status_code == 200


async def test_a_public_key_is_no_secret(page: Page) -> None:
    """Key confusion: who knows the public key signs with it, by an algorithm that takes it as a secret."""
    pair = RSAKey.generate_key(2048)
    public = pair.as_pem(private=False).decode()
    theirs = Page(
        page.api, await publish(page.api, tokens={"algorithm": "RS256", "key": public, "audience": "web"})
    )
    claims = {"sub": "ann", "aud": "web", "iat": now(), "exp": now() + 300}
    good = jwt.encode({"alg": "RS256"}, claims, pair)
    assert (await theirs.decide(customer_token=good))["offers"]
    # The library refuses to sign so, an attacker does not.
    unsigned_part = unsigned({"alg": "HS256", "typ": "JWT"}, claims).rstrip(".")
    mac = hmac.new(public.encode(), unsigned_part.encode(), hashlib.sha256).digest()
    forged = f"{unsigned_part}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    problem_of(await theirs.post("decisions", {"placement": "home", "customer_token": forged}), 401)
    # And a token of one key is none of another.
    problem_of(await page.post("decisions", {"placement": "home", "customer_token": good}), 401)


async def test_the_page_shows_how_a_token_is_made(page: Page) -> None:
    (block,) = re.findall(r"^<!-- test:token -->\n```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert (await page.decide(customer_token=names["token_for"]("ann", SECRET)))["offers"]


async def test_a_token_for_one_placement_opens_no_other(api: Instance) -> None:
    page = Page(api, await publish(api, placements=["home", "desk"]))
    token = sign(placements=["home"])
    decision = await page.decide(customer_token=token)
    replayed = {"placement": "desk", "customer_token": token}
    problem_of(await page.post("decisions", replayed), 403, "placement")
    at_desk = await page.decide(placement="desk", customer_token=sign())
    assert (await page.tell(at_desk, customer_token=token))["code"] == 404
    assert (await page.tell(decision, customer_token=token))["status"] == "recorded"
    problem_of(
        await page.post("decisions", {"placement": "home", "customer_token": sign(placements="home")}), 401
    )


async def test_feedback_is_taken_on_own_decisions_alone(page: Page) -> None:
    mine = await page.decide(customer_token=sign("ann"))
    visitors = await page.decide()
    assert (await page.tell(mine, customer_token=sign("bob")))["code"] == 404
    assert (await page.tell(mine))["code"] == 404
    assert (await page.tell(visitors, visitor_id="another-visitor-00"))["code"] == 404
    # One that the shop made for the same customer, elsewhere.
    at_desk = await decide(page.api, "ann", "desk")
    assert (await page.tell(at_desk, customer_token=sign("ann")))["code"] == 404
    unknown = mine | {"decision_id": "nb000-" + "0" * 32}
    assert (await page.tell(unknown, customer_token=sign("ann")))["reason"] == (
        (await page.tell(unknown))["reason"]
    )
    assert (await page.tell(mine, "clicked", customer_token=sign("ann")))["status"] == "recorded"
    assert (await page.tell(mine, "clicked", customer_token=sign("ann")))["status"] == "duplicate"
    assert (await page.tell(visitors, "accepted"))["status"] == "recorded"


async def test_a_page_cannot_say_what_an_acceptance_is_worth(page: Page) -> None:
    await page.api.ok("PUT", "/v1/outcomes/lost", json={"reward": 1000})
    decision = await page.decide()
    item = {"decision_id": decision["decision_id"], "offer_id": decision["offers"][0]["offer_id"]}
    items = [item | {"outcome": "accepted", "value": 1e15}, item | {"outcome": "lost"}]
    answer = await page.post("feedback", {"visitor_id": VISITOR, "items": items})
    assert [(found["code"], found["field"]) for found in answer.json()["items"]] == [
        (422, "value"),
        (422, "outcome"),
    ]


async def test_feedback_on_what_is_archived_is_taken_too(shop: Any) -> None:
    page = Page(shop.api, await publish(shop.api))
    decision = await page.decide(visitor_id="archived-0123456789")
    await shop.worker.expire(ahead_s=400 * 86_400)
    await shop.worker.drain()
    await shop.worker.expire(ahead_s=400 * 86_400)
    assert (await page.tell(decision, visitor_id="archived-0123456789"))["code"] == 200
    assert (await page.tell(decision))["code"] == 404


async def test_an_own_id_gives_the_same_answer_to_the_same_visitor_alone(page: Page) -> None:
    own = "pub-0123456789abcdef"
    first = await page.decide(decision_id=own)
    assert await page.decide(decision_id=own) == first
    taken = {"placement": "home", "visitor_id": "another-visitor-00", "decision_id": own}
    problem_of(await page.post("decisions", taken), 409)
    for refused in ("order-1", "pub-short", "nb000-" + "0" * 32):
        body = {"placement": "home", "visitor_id": VISITOR, "decision_id": refused}
        problem_of(await page.post("decisions", body), 422, "decision_id")


async def test_no_customer_has_a_visitors_id(page: Page) -> None:
    body: dict[str, Any] = {"attributes": {}}
    for customer_id in (f"visitor:{VISITOR}", "VISITOR:1"):
        answer = await page.api.call("PUT", f"/v1/customers/{customer_id}", json=body)
        problem_of(answer, 422, "customer_id")
    for visitor_id in ("short", "x" * 65, "../0123456789abcdef", "ann 0123456789abcdef"):
        problem_of(
            await page.post("decisions", {"placement": "home", "visitor_id": visitor_id}), 422, "visitor_id"
        )
    rows = "customer_id\nann\nvisitor:0123456789abcdef\nVisitor:2\n"
    answer = await page.api.ok(
        "POST", "/v1/imports/customers", content=rows, headers={"Content-Type": "text/csv"}, role="ops"
    )
    assert [(found["row"], found["field"]) for found in answer["refusals"]] == [
        (2, "customer_id"),
        (3, "customer_id"),
    ]


async def test_a_publishable_key_opens_nothing_else(page: Page) -> None:
    headers = {"X-API-Key": page.key, "Origin": SHOP}
    for method, path in (("GET", "/v1/offers"), ("POST", "/v1/decisions"), ("POST", "/v1/feedback")):
        answer = await page.api.http.request(method, path, headers=headers, json={})
        problem_of(answer, 401)
    for role in ("frontend", "admin"):
        problem_of(await Page(page.api, page.api.keys[role]).post("decisions", {}), 401)
    body = {"placement": "home", "visitor_id": VISITOR}
    assert (await Page(page.api, page.key).post("offers", body)).status_code == 404


async def test_rates_are_of_a_key_and_of_each_visitor(api: Instance) -> None:
    page = Page(api, await publish(api, visitor_per_minute=2, key_per_minute=4))
    body = {"placement": "home"}

    async def ask(visitor: str) -> int:
        return (await page.post("decisions", body | {"visitor_id": visitor})).status_code

    assert [await ask("first-0123456789abc") for _ in range(3)] == [200, 200, 429]
    assert [await ask("other-0123456789abc") for _ in range(2)] == [200, 429]
    assert await ask("third-0123456789abc") == 429, "the key has none left"
    assert (await Page(api, await publish(api)).post("decisions", body | {"visitor_id": VISITOR})).is_success


async def test_outcomes_have_rates_of_their_own(api: Instance) -> None:
    """What is told costs look-ups for each outcome; who has told too many is still decided for."""
    page = Page(api, await publish(api, visitor_per_minute=4, key_per_minute=100))
    decision = await page.decide()
    item = {"decision_id": decision["decision_id"], "offer_id": decision["offers"][0]["offer_id"]}
    items = [item | {"outcome": "presented"}] * 50
    body = {"visitor_id": VISITOR, "items": items}
    assert (await page.post("feedback", body)).json()["refused"] == 0
    often = await page.post("feedback", body)
    problem_of(often, 429)
    assert 60 < int(often.headers["Retry-After"]) <= 100, "30 are owed, of 20 a minute"
    await page.decide()
    other = await page.post("feedback", body | {"visitor_id": "other-0123456789abc"})
    assert {found["code"] for found in other.json()["items"]} == {404}
    other = await page.post("feedback", {"visitor_id": "third-0123456789abc", "items": items * 2})
    problem_of(other, 422, "items")


async def test_bodies_are_small(page: Page) -> None:
    body = {"placement": "home", "visitor_id": VISITOR, "context": {"text": "x" * 70_000}}
    answer = await page.post("decisions", body)
    problem_of(answer, 413)
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP


async def test_a_revoked_key_is_worthless_within_a_moment(page: Page) -> None:
    store = PublishableStore(page.api.state.engine)
    key = await publish(page.api, origins=["https://leaving.example"])
    leaving = Page(page.api, key, "https://leaving.example")
    await leaving.decide()
    key_id = next(r.key_id for r in await store.records() if r.settings.origins == [leaving.origin])
    assert await store.revoke(key_id)
    assert not await store.revoke(key_id)

    async def refused() -> bool:
        return (await leaving.post("decisions", {})).status_code == 401

    await eventually(refused, "the key to be refused")
    assert (await preflight(page.api, "https://leaving.example")).status_code == 403
