"""The console's door and files: sessions in exchange for keys, protected writes, and nothing from outside."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest

from app.console.files import STATIC
from app.console.sessions import COOKIE, SessionStore
from app.keys import KeyStore, Role
from tests.support.api import Instance, Nextbest, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUP = {"name": "Cards", "goal": "grow"}


class Browser:
    """A client with a cookie, as a page uses it: the token of writes is sent where it is known."""

    def __init__(self, api: Instance, cookie: str, token: str) -> None:
        self.cookie = cookie
        self.token = token
        self._api = api

    async def send(
        self, method: str, path: str, *, token: str | None = None, **arguments: Any
    ) -> httpx.Response:
        headers = {"Cookie": f"{COOKIE}={self.cookie}"} | arguments.pop("headers", {})
        used = self.token if token is None else token
        if used:
            headers["X-CSRF-Token"] = used
        return await self._api.call(method, path, role=None, headers=headers, **arguments)

    async def status(self, method: str, path: str, **arguments: Any) -> int:
        return (await self.send(method, path, **arguments)).status_code


async def sign_in(api: Instance, key: str) -> Browser:
    answer = await api.call("POST", "/console/session", role=None, json={"key": key})
    assert answer.status_code == 200, answer.text
    api.http.cookies.clear()
    found = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]
    return Browser(api, found.value, answer.json()["csrf_token"])


@asynccontextmanager
async def a_key(nextbest: Nextbest, role: Role) -> AsyncIterator[tuple[str, str]]:
    """A key that is known everywhere, and its id."""
    store = KeyStore(nextbest.api.state.engine)
    key = await store.create(role, f"{role} for a while")
    await nextbest.api.state.refresh()
    record = next(r.key for r in await store.records() if r.key.name == f"{role} for a while")
    yield key, record.key_id
    await store.revoke(record.key_id)


async def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(api: Instance) -> None:
    answer = await api.call("POST", "/console/session", role=None, json={"key": api.keys["ops"]})
    api.http.cookies.clear()
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # over plain HTTP a browser would not send it back
    assert answer.json()["role"] == "ops"
    assert api.keys["ops"] not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


async def test_over_https_the_cookie_is_for_https_only(api: Instance) -> None:
    answer = await api.call(
        "POST", "https://nextbest/console/session", role=None, json={"key": api.keys["ops"]}
    )
    api.http.cookies.clear()
    assert "secure" in answer.headers["Set-Cookie"].lower()


async def test_a_session_may_do_what_its_key_may(api: Instance) -> None:
    ops = await sign_in(api, api.keys["ops"])
    assert await ops.status("GET", "/v1/offers") == 200
    assert await ops.status("PUT", "/v1/groups/cards", json=GROUP) == 200
    trail = (await ops.send("GET", "/v1/catalog?kind=group&id=cards")).json()
    assert trail[0]["author"] == "test ops"

    agent = await sign_in(api, api.keys["frontend"])
    problem_of(await agent.send("PUT", "/v1/groups/cards", json=GROUP), 403)
    problem_of(await agent.send("GET", "/v1/live"), 403)


async def test_a_write_without_the_sessions_token_is_refused(api: Instance) -> None:
    ops = await sign_in(api, api.keys["ops"])
    other = await sign_in(api, api.keys["ops"])
    for wrong in ("", other.token, ops.cookie):
        browser = Browser(api, ops.cookie, "")
        refused = await browser.send("PUT", "/v1/groups/cards", json=GROUP, token=wrong)
        left = await browser.send("DELETE", "/console/session", token=wrong)
        for answer in (refused, left):  # the console goes by the field
            assert [one["field"] for one in problem_of(answer, 403)["errors"]] == ["X-CSRF-Token"]
    assert await ops.status("GET", "/v1/offers") == 200


async def test_a_key_counts_before_a_cookie(api: Instance) -> None:
    ops = await sign_in(api, api.keys["ops"])
    headers = {"X-API-Key": api.keys["scientist"]}
    assert await ops.status("PUT", "/v1/groups/cards", json=GROUP, headers=headers) == 403
    assert await ops.status("GET", "/v1/offers", headers={"X-API-Key": "wrong"}) == 401


@pytest.mark.parametrize("cookie", ["", "x", "x" * 5000, "a=b; c", "é"])
async def test_a_made_up_cookie_is_no_session(api: Instance, cookie: str) -> None:
    headers = {"Cookie": f"{COOKIE}={cookie}".encode()}
    answer = await api.call("GET", "/v1/offers", role=None, headers=headers)
    problem_of(answer, 401)
    assert (await api.call("GET", "/console/session", role=None, headers=headers)).json() == {
        "signed_in": False
    }


async def test_a_wrong_key_is_told_where_it_was_written(api: Instance) -> None:
    wrong = await api.call("POST", "/console/session", role=None, json={"key": "nb_admin_wrong"})
    problem_of(wrong, 401, "key")
    assert "Set-Cookie" not in wrong.headers
    problem_of(await api.call("POST", "/console/session", role=None, json={}), 422, "key")
    form = await api.call("POST", "/console/session", role=None, data={"key": api.keys["ops"]})
    problem_of(form, 415, "Content-Type")


async def test_what_is_sent_without_a_key_is_small(api: Instance) -> None:
    long = {"key": "x" * 100_000}
    problem_of(await api.call("POST", "/console/session", role=None, json=long), 413)


async def test_a_revoked_key_ends_its_sessions(nextbest: Nextbest) -> None:
    async with a_key(nextbest, "ops") as (key, key_id):
        browser = await sign_in(nextbest.api, key)
        assert await browser.status("GET", "/v1/offers") == 200
        await KeyStore(nextbest.api.state.engine).revoke(key_id)

        async def refused() -> bool:
            return await browser.status("GET", "/v1/offers") == 401

        await eventually(refused, "the session to end with its key")


async def test_sessions_hold_in_every_process_and_end_in_every_process(nextbest: Nextbest) -> None:
    async with nextbest.another() as other:
        here = await sign_in(nextbest.api, nextbest.api.keys["ops"])
        there = Browser(other, here.cookie, here.token)
        assert await there.status("GET", "/v1/offers") == 200, "just begun in another process"
        answer = await here.send("DELETE", "/console/session")
        assert answer.json() == {"signed_in": False}
        assert await here.status("GET", "/v1/offers") == 401

        async def ended() -> bool:
            return await there.status("GET", "/v1/offers") == 401

        await eventually(ended, "the session to end in the other process")


async def test_the_token_itself_is_not_stored(nextbest: Nextbest) -> None:
    browser = await sign_in(nextbest.api, nextbest.api.keys["ops"])
    stored = await SessionStore(nextbest.api.state.engine).load()
    assert browser.cookie.encode() not in stored
    assert len(stored) > 0


async def test_a_desk_is_told_what_it_can_ask_with_and_nothing_else(api: Instance) -> None:
    body = {"type": "string", "values": ["cancel", "question"], "description": "why they call"}
    await api.ok("PUT", "/v1/attributes/context.reason", json=body, role="ops")
    suppress = [{"for_s": 60, "scope": "group"}]
    await api.ok("PUT", "/v1/reasons/price", json={"name": "Too expensive", "suppress": suppress}, role="ops")
    await api.ok("PUT", "/v1/reasons/moved", json={}, role="ops")
    agent = await sign_in(api, api.keys["frontend"])
    found = (await agent.send("GET", "/v1/desk")).json()
    assert found["reasons"] == [
        {"reason_id": "moved", "name": ""},
        {"reason_id": "price", "name": "Too expensive"},
    ]
    assert [p["placement_id"] for p in found["placements"]] == ["desk", "home"]
    assert found["questions"] == [
        {"name": "reason", "type": "string", "description": "why they call", "values": ["cancel", "question"]}
    ]
    problem_of(await agent.send("GET", "/v1/placements"), 403)
    problem_of(await agent.send("GET", "/v1/offers"), 403)


async def test_pages_allow_nothing_from_outside(api: Instance) -> None:
    for path in ("/console", "/console/offers/gold", "/console/desk"):
        page = await api.call("GET", path, role=None)
        assert page.status_code == 200
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"https?:|\*", policy)
        assert "frame-ancestors 'none'" in policy
        assert page.headers["Cache-Control"] == "no-cache"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"(src|href)=\"(https?:)?//", page.text)


async def test_files_are_kept_for_as_long_as_they_are_the_same(api: Instance) -> None:
    page = (await api.call("GET", "/console", role=None)).text
    main = re.search(r'src="([^"]+main\.js)"', page)
    assert main is not None
    file = await api.call("GET", main[1], role=None)
    assert file.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert "immutable" in file.headers["Cache-Control"]
    earlier = re.sub(r"/static/\w+/", "/static/0123456789abcdef/", main[1])
    assert (await api.call("GET", earlier, role=None)).headers["Cache-Control"] == "no-cache"
    for wrong in ("nothing.js", "../routes.py", "%2e%2e/routes.py"):
        path = main[1].replace("main.js", wrong)
        assert (await api.call("GET", path, role=None)).status_code in (200, 404)
        assert "import" not in (await api.call("GET", path, role=None)).text[:20]


async def test_our_files_name_no_other_host() -> None:
    ours = [
        path
        for path in STATIC.rglob("*")
        if path.suffix in (".js", ".css", ".json", ".html") and "vendor" not in path.parts
    ]
    assert len(ours) > 15
    assert [path.name for path in ours if re.search(r"https?://", path.read_text())] == []


async def test_vendored_libraries_come_with_their_licences() -> None:
    vendor = STATIC / "vendor"
    libraries = {path.name.split(".")[0].split("-")[0] for path in vendor.iterdir()}
    assert {path.stem for path in vendor.glob("*.LICENSE")} == libraries


async def test_both_languages_have_the_same_words() -> None:
    english, spanish = (json.loads((STATIC / "i18n" / f"{name}.json").read_text()) for name in ("en", "es"))
    assert english.keys() == spanish.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", spanish[key])), key
    used = {
        key
        for path in STATIC.rglob("*.js")
        for key in re.findall(r'\bt\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert used - english.keys() == set()


async def test_the_live_numbers_count_what_happens(shop: Nextbest) -> None:
    before = await shop.api.ok("GET", "/v1/live", role="ops")
    body = {"customer_id": "ann", "placement": "home"}
    answer = await shop.api.ok("POST", "/v1/decisions", json=body, role="frontend")
    told = {"decision_id": answer["decision_id"], "offer_id": answer["offers"][0]["offer_id"]}
    await shop.api.ok("POST", "/v1/feedback", json=told | {"outcome": "accepted"}, role="frontend")
    await shop.api.ok("POST", "/v1/feedback", json=told | {"outcome": "accepted"}, role="frontend")
    found: dict[str, Any] = {}

    async def counted() -> bool:
        found.update(await shop.api.ok("GET", "/v1/live", role="scientist"))
        return bool(found["decisions"] == before["decisions"] + 1)

    await eventually(counted, "the decision to be counted")
    assert found["outcomes"]["accepted"] == before["outcomes"]["accepted"] + 1, "told twice, it counts once"
    assert found["placements_per_s"].keys() == {"home"}
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert found["archive_behind_s"] >= 0
