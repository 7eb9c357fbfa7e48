"""Signing in with a provider's word: who is let in, as whom, and everything that is refused."""

from collections.abc import AsyncIterator, Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from joserfc.jwk import ECKey, OctKey, RSAKey

from app.console.oidc import OidcSettings, Provider
from app.console.routes import ATTEMPT_COOKIE
from app.console.sessions import COOKIE, SessionStore
from tests.support.api import Instance, Nextbest, problem_of
from tests.support.oidc_provider import CLIENT, SECRET, OidcProvider, oidc_provider

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[OidcProvider]:
    async with oidc_provider() as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(shop: Nextbest, served: OidcProvider) -> AsyncIterator[Instance]:
    """A process that takes the provider's word."""
    async with shop.another(**settings_of(served)) as instance:
        yield instance


def settings_of(
    provider: OidcProvider, roles: str = "nb-admins:admin, nb-ops:ops,nb-ds:scientist,nb-desk:agent"
) -> dict[str, str]:
    return {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_role_claim": "groups",
        "oidc_roles": roles,
    }


@pytest.fixture
def provider(served: OidcProvider) -> OidcProvider:
    """The provider, as it is at first."""
    served.__init__(served.issuer, published=served.published[:1])  # type: ignore[misc]
    return served


@pytest.fixture
def door(process: Instance, provider: OidcProvider) -> Instance:
    """The process, which knows nothing of the provider yet."""
    process.app.state.provider = Provider(process.app.state.provider.settings)
    return process


async def get(api: Instance, path: str, **cookies: str) -> httpx.Response:
    """Ask as a browser does that has these cookies."""
    written = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = await api.call("GET", path, role=None, headers={"Cookie": written} if written else {})
    api.http.cookies.clear()
    return answer


def cookie_of(answer: httpx.Response, name: str) -> str:
    """Read what the answer sets."""
    for header in answer.headers.get_list("set-cookie"):
        found = SimpleCookie(header)
        if name in found:
            return found[name].value
    return ""


async def begin(api: Instance) -> tuple[str, str]:
    """Begin a sign-in, and go through the provider; the way back, and the browser's cookie."""
    sent = await get(api, "/console/oidc")
    assert sent.status_code == 303
    async with httpx.AsyncClient() as client:
        back = await client.get(sent.headers["Location"])
    parts = urlsplit(back.headers["Location"])
    return f"{parts.path}?{parts.query}", cookie_of(sent, ATTEMPT_COOKIE)


async def sign_in(api: Instance) -> httpx.Response:
    """Sign in; the answer to the way back."""
    path, attempt = await begin(api)
    return await get(api, path, **{ATTEMPT_COOKIE: attempt})


async def session_of(api: Instance, answer: httpx.Response) -> dict[str, Any]:
    """Return who is signed in after an answer."""
    found: dict[str, Any] = (await get(api, "/console/session", **{COOKIE: cookie_of(answer, COOKIE)})).json()
    return found


async def test_who_is_vouched_for_is_let_in_with_the_role_of_a_claim_and_is_the_author_of_changes(
    shop: Nextbest, door: Instance
) -> None:
    answer = await sign_in(door)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console")
    told = await session_of(door, answer)
    assert (told["signed_in"], told["name"], told["role"]) == (True, "Ada", "ops")
    headers = {"Cookie": f"{COOKIE}={cookie_of(answer, COOKIE)}", "X-CSRF-Token": told["csrf_token"]}
    body = {"name": "Cards", "goal": "grow", "lever": 3}
    changed = await door.call("PUT", "/v1/groups/cards", role=None, headers=headers, json=body)
    assert changed.status_code == 200, changed.text
    trail = await door.ok("GET", "/v1/catalog?kind=group&id=cards")
    assert trail[0]["author"] == "Ada (u-17)"
    missing = {name: value for name, value in headers.items() if name == "Cookie"}
    problem_of(await door.call("PUT", "/v1/groups/cards", role=None, headers=missing, json=body), 403)
    refused = await door.call("POST", "/v1/placements/home/policies", role=None, headers=headers, json={})
    assert refused.status_code == 403


async def test_a_person_who_takes_another_name_approves_no_change_set_of_their_own(
    door: Instance, provider: OidcProvider
) -> None:
    async def headers_of(**claims: str) -> dict[str, str]:
        provider.claims |= claims
        answer = await sign_in(door)
        token = (await session_of(door, answer))["csrf_token"]
        return {"Cookie": f"{COOKIE}={cookie_of(answer, COOKIE)}", "X-CSRF-Token": token}

    ada = await headers_of()
    made = await door.ok("POST", "/v1/changesets", role=None, headers=ada, json={"title": "Mine"})
    path = f"/v1/changesets/{made['changeset_id']}"
    body = {"body": {"name": "Own", "goal": "grow"}}
    await door.ok("PATCH", f"{path}/items/group/cards", role=None, headers=ada, json={"lever": 4})
    await door.ok("PUT", f"{path}/items/group/own", role=None, headers=ada, json=body)
    sent = await door.ok("POST", f"{path}/submit", role=None, headers=ada, json={})
    seen = {"If-Match": f'"{sent["revision"]}"'}
    renamed = await headers_of(name="Zoe")
    refused = await door.call("POST", f"{path}/approve", role=None, headers=renamed | seen, json={})
    assert "another person" in problem_of(refused, 403)["detail"]
    other = await headers_of(sub="u-19")
    approved = await door.ok("POST", f"{path}/approve", role=None, headers=other | seen, json={})
    assert approved["approved_by"] == "Zoe (u-19)"


async def test_where_approvals_are_required_a_person_and_their_key_are_not_two(
    shop: Nextbest, provider: OidcProvider
) -> None:
    async with shop.another(**settings_of(provider), approvals="required") as api:
        answer = await sign_in(api)
        token = (await session_of(api, answer))["csrf_token"]
        person = {"Cookie": f"{COOKIE}={cookie_of(answer, COOKIE)}", "X-CSRF-Token": token}
        provider.claims |= {"sub": "u-19"}
        answer = await sign_in(api)
        token = (await session_of(api, answer))["csrf_token"]
        other = {"Cookie": f"{COOKIE}={cookie_of(answer, COOKIE)}", "X-CSRF-Token": token}

        # What a key wrote is submitted by a person, and approved by another one.
        made = await api.ok("POST", "/v1/changesets", role="ops", json={"title": "By key"})
        path = f"/v1/changesets/{made['changeset_id']}"
        await api.ok("PATCH", f"{path}/items/group/cards", role="ops", json={"lever": 9})
        refused = await api.call("POST", f"{path}/submit", role="ops", json={})
        assert "sign in to the console" in problem_of(refused, 403)["detail"]
        sent = await api.ok("POST", f"{path}/submit", role=None, headers=person, json={})
        seen = {"If-Match": f'"{sent["revision"]}"'}
        for role in ("ops", "admin"):
            refused = await api.call("POST", f"{path}/approve", role=role, headers=seen, json={})
            assert "sign in to the console" in problem_of(refused, 403)["detail"]
            assert "approve" not in (await api.ok("GET", path, role=role))["possible"]
        refused = await api.call("POST", f"{path}/approve", role=None, headers=person | seen, json={})
        assert "who submitted it" in problem_of(refused, 403)["detail"]
        await api.ok("POST", f"{path}/approve", role=None, headers=other | seen, json={})
        await api.ok("POST", f"{path}/apply", role="ops", json={})


async def test_a_session_is_good_in_all_processes_as_long_as_they_know_its_role(
    shop: Nextbest, door: Instance, provider: OidcProvider
) -> None:
    answer = await sign_in(door)
    async with shop.another(**settings_of(provider)) as other:
        assert (await session_of(other, answer))["role"] == "ops"
        assert (await session_of(shop.api, answer))["signed_in"] is False  # there is no provider
        ended = await SessionStore(shop.api.state.engine).end_of("u-17")
        assert ended >= 1
        for api in (door, other):
            await api.state.refresh()
            assert (await session_of(api, answer))["signed_in"] is False
        again = await sign_in(door)
        assert (await session_of(other, again))["signed_in"]
    async with shop.another(**settings_of(provider, "nb-ds:scientist")) as other:
        assert (await session_of(other, again))["signed_in"] is False


async def test_cookies_of_a_sign_in_are_for_the_browser_alone(door: Instance) -> None:
    sent = await get(door, "/console/oidc")
    attempt = sent.headers["Set-Cookie"].lower()
    assert all(word in attempt for word in ("httponly", "samesite=lax", "path=/console/oidc", "max-age=600"))
    path, kept = await begin(door)
    back = await get(door, path, **{ATTEMPT_COOKIE: kept})
    session = next(h for h in back.headers.get_list("set-cookie") if h.startswith(COOKIE)).lower()
    assert "httponly" in session
    assert "samesite=strict" in session
    assert any(h.startswith(f'{ATTEMPT_COOKIE}=""') for h in back.headers.get_list("set-cookie"))
    query = parse_qs(urlsplit(sent.headers["Location"]).query)
    assert kept not in sent.headers["Location"]
    assert query["redirect_uri"] == ["http://nextbest/console/oidc/callback"]


async def test_who_signs_out_leaves_the_provider_as_well(door: Instance, provider: OidcProvider) -> None:
    answer = await sign_in(door)
    token = (await session_of(door, answer))["csrf_token"]
    headers = {"Cookie": f"{COOKIE}={cookie_of(answer, COOKIE)}", "X-CSRF-Token": token}
    left = await door.call("DELETE", "/console/session", role=None, headers=headers)
    door.http.cookies.clear()
    assert left.json()["leave"].startswith(f"{provider.issuer}/leave?client_id=")
    assert await session_of(door, answer) == {"signed_in": False, "provider": True}
    key = await door.call("POST", "/console/session", role=None, json={"key": door.keys["ops"]})
    door.http.cookies.clear()
    headers = {"Cookie": f"{COOKIE}={cookie_of(key, COOKIE)}", "X-CSRF-Token": key.json()["csrf_token"]}
    assert "leave" not in (await door.call("DELETE", "/console/session", role=None, headers=headers)).json()


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["other", "nb-ds"]}, "scientist"),
        ({"groups": ["nb-ds", "nb-admins"]}, "admin"),
        ({"groups": "nb-ops"}, "ops"),
        ({"groups": ["nb-desk"]}, "agent"),
        ({"groups": ["nobody"]}, None),
        ({"groups": {"nb-ops": True}}, None),
        ({}, None),
    ],
)
async def test_a_person_without_a_role_is_not_let_in(
    door: Instance, provider: OidcProvider, claims: dict[str, Any], role: str | None
) -> None:
    provider.claims = {"sub": "u-18", "email": "ada@example.com", **claims}
    answer = await sign_in(door)
    if role is None:
        assert answer.headers["Location"] == "/console?refused=role"
        assert cookie_of(answer, COOKIE) == ""
    else:
        told = await session_of(door, answer)
        assert (told["role"], told["name"]) == (role, "ada@example.com")


def change(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Spoil claims; what is ``None`` is left out."""

    def spoil(claims: dict[str, Any]) -> None:
        for name, value in changes.items():
            if value is None:
                claims.pop(name, None)
            else:
                claims[name] = value

    return spoil


SPOILED: dict[str, Callable[[dict[str, Any]], None]] = {
    "another nonce": change(nonce="x"),
    "no nonce": change(nonce=None),
    "another audience": change(aud="other"),
    "no audience": change(aud=None),
    "two audiences": change(aud=[CLIENT, "other"]),
    "another party": change(azp="other"),
    "another issuer": change(iss="https://other.example"),
    "expired": lambda claims: claims.update(iat=claims["iat"] - 900, exp=claims["iat"] - 120),
    "without an end": change(exp=None),
    "not yet": lambda claims: claims.update(iat=claims["iat"] + 120, nbf=claims["iat"] + 120),
    "nobody": change(sub=None),
    "a number": change(sub=17),
}


@pytest.mark.parametrize("what", SPOILED)
async def test_a_token_that_is_not_right_lets_nobody_in(
    door: Instance, provider: OidcProvider, what: str
) -> None:
    provider.spoil = SPOILED[what]
    answer = await sign_in(door)
    assert answer.headers["Location"] == "/console?refused=refused"
    assert cookie_of(answer, COOKIE) == ""


async def test_clocks_may_differ_by_a_minute(door: Instance, provider: OidcProvider) -> None:
    provider.spoil = lambda claims: claims.update(iat=claims["iat"] - 330, exp=claims["iat"] - 30)
    assert (await session_of(door, await sign_in(door)))["signed_in"]
    provider.spoil = change(aud=[CLIENT, "other"], azp=CLIENT)
    assert (await session_of(door, await sign_in(door)))["signed_in"]


@pytest.mark.parametrize("how", ["none", "HS256", "another key", "another key of the same name"])
async def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(
    door: Instance, provider: OidcProvider, how: str
) -> None:
    if how in ("none", "HS256"):
        provider.algorithm = how
        provider.signed_by = OctKey.import_key(SECRET * 3)
    else:
        kid = "first" if how.endswith("name") else "second"
        provider.signed_by = RSAKey.generate_key(2048, {"kid": kid, "alg": "RS256"})
    answer = await sign_in(door)
    assert answer.headers["Location"] == "/console?refused=refused"


async def test_keys_may_change(door: Instance, provider: OidcProvider) -> None:
    now = 0.0
    door.app.state.provider.ticks_s = lambda: now
    assert (await session_of(door, await sign_in(door)))["signed_in"]
    read = provider.asked.count("keys")
    assert (await session_of(door, await sign_in(door)))["signed_in"]
    assert provider.asked.count("keys") == read
    first = provider.published[0]
    provider.published = [ECKey.generate_key("P-256", {"kid": "next", "alg": "ES256"})]
    provider.algorithm = "ES256"
    assert (await sign_in(door)).headers["Location"] == "/console?refused=refused"
    now += 11.0  # not more often, whoever sends what
    assert (await session_of(door, await sign_in(door)))["signed_in"]
    provider.published = [first]


async def test_a_way_back_that_this_browser_did_not_begin_is_refused(door: Instance) -> None:
    path, attempt = await begin(door)
    other = (await begin(door))[1]
    for cookies in ({}, {ATTEMPT_COOKIE: other}, {ATTEMPT_COOKIE: "x"}, {ATTEMPT_COOKIE: "a.b."}):
        answer = await get(door, path, **cookies)
        assert answer.headers["Location"] == "/console?refused=stale"
    assert (await session_of(door, await get(door, path, **{ATTEMPT_COOKIE: attempt})))["signed_in"]
    again = await get(door, path, **{ATTEMPT_COOKIE: attempt})
    assert again.headers["Location"] == "/console?refused=refused"  # a code is good for once


async def test_what_the_provider_or_the_person_refuses_is_said(door: Instance) -> None:
    path, attempt = await begin(door)
    state = parse_qs(urlsplit(path).query)["state"][0]
    refused = f"/console/oidc/callback?error=access_denied&state={state}"
    answer = await get(door, refused, **{ATTEMPT_COOKIE: attempt})
    assert answer.headers["Location"] == "/console?refused=cancelled"
    other = f"{path}&iss=https%3A%2F%2Fother.example"
    answer = await get(door, other, **{ATTEMPT_COOKIE: attempt})
    assert answer.headers["Location"] == "/console?refused=refused"


@pytest.mark.parametrize(
    ("extra", "status", "why"),
    [
        ({"issuer": "https://other.example"}, 200, "refused"),
        ({"token_endpoint": 7}, 200, "refused"),
        ({}, 503, "away"),
        ({}, 404, "refused"),
    ],
)
async def test_a_provider_that_is_not_what_it_says_is_refused(
    provider: OidcProvider, door: Instance, extra: dict[str, Any], status: int, why: str
) -> None:
    provider.extra, provider.status = extra, status
    answer = await get(door, "/console/oidc")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/console?refused={why}")


async def test_a_provider_that_is_away_keeps_nobody_out_who_has_a_key(door: Instance) -> None:
    there = door.app.state.provider
    door.app.state.provider = Provider(
        OidcSettings("http://127.0.0.1:1", CLIENT, SECRET, "groups", {"x": "ops"})
    )
    answer = await get(door, "/console/oidc")
    door.app.state.provider = there
    assert answer.headers["Location"] == "/console?refused=away"
    key = await door.call("POST", "/console/session", role=None, json={"key": door.keys["ops"]})
    door.http.cookies.clear()
    assert key.json()["signed_in"]


async def test_without_a_provider_people_sign_in_with_keys(api: Instance) -> None:
    assert (await get(api, "/console/session")).json() == {"signed_in": False}
    problem_of(await get(api, "/console/oidc"), 404)
    problem_of(await get(api, "/console/oidc/callback?code=x&state=y"), 404)
