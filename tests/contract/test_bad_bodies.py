"""Bodies that nobody should send: each is refused in words, none is a defect, and nothing is changed by them."""

import copy
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import JSON, Instance, Nextbest, decide, problem_of, traces

pytestmark = pytest.mark.asyncio(loop_scope="module")

FEEDBACK = {"decision_id": "mine", "offer_id": "gold", "outcome": "clicked", "value": 1}
VALID: dict[str, dict[str, Any]] = {
    "POST /v1/decisions": {
        "customer_id": "ann",
        "placement": "home",
        "context": {"page": "cards"},
        "limit": 1,
        "decision_id": "mine",
        "deadline_ms": 5000,
        "dry_run": True,
    },
    "POST /v1/feedback": FEEDBACK | {"occurred_at": ""},
    "POST /v1/feedback/batch": {"items": [FEEDBACK]},
    "PUT /v1/groups/cards": {"name": "Cards", "goal": "grow"},
    "PUT /v1/offers/other": {
        "name": "Other",
        "group": "cards",
        "value": 3,
        "status": "paused",
        "starts_at": "2026-01-01T00:00:00Z",
        "ends_at": "2026-02-01T00:00:00+01:00",
        "requires_consent": "marketing",
        "contact_limits": [{"max": 3, "window_s": 60}],
    },
    "PUT /v1/offers/gold/treatments/letter": {
        "channel": "mail",
        "language": "de-CH",
        "title": "Gold",
        "message": "Liebe Ann",
        "image": "https://example.com/a.png",
    },
    "PUT /v1/placements/other": {
        "channel": "web",
        "slots": 2,
        "default_offers": ["gold"],
        "deadline_ms": 50,
        "presentation": "explicit",
        "reward_window_s": 60,
        "policy": "random",
        "fallback_policy": "random",
        "control_policy": "random",
        "control_share": 0.5,
        "experiment_salt": "s",
        "without_history": "allow",
    },
    "PUT /v1/customers/ann": {
        "attributes": {"age": 35, "vip": True, "city": "Bern"},
        "indicators": {"spend": 3.5},
        "holdings": ["card"],
        "interests": {"coffee": 1},
        "consents": {"marketing": ["web", "*"]},
    },
}
NOT_JSON = (
    b"",
    b"  ",
    b'{"name": ',
    b'{"name": NaN}',
    b'{"name": -Infinity}',
    b'{"name": 1' + b"0" * 5000 + b"}",
    b'{"name": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"name": "\xff"}',
    b'{"name": "\xc0\x80"}',  # an overlong NUL
    '{"name": "x"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"name": "x"}',
    b'{"name": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"name": "\x00"}',
    b'{"name": "\n"}',
    b'{"name": "x"} {}',
    b'{"name": "x",}',
    b"{'name': 'x'}",
    b'{/* */ "name": "x"}',
    b"name=x&goal=grow",
    b"<name>x</name>",
)
CONTENT_TYPES = (
    *("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json"),
    *("application/xml", "application/json-patch", "json", "/", "application/jsonx", "x" * 5000, "\r\nA: b"),
)
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, -0.0, 1e308, -1e308, 10**30, 2**63, -(2**63), 10**400),
    *("", " ", "\x00", "a\x00b", "\u202e", "💥", "ñ", "a/b", "../x", "%", "'; DROP TABLE offers; --", "{b1}"),
    *("1", "true", "null", "NaN", "x" * 10_000, "2026-01-01", "0001-01-01T00:00:00+14:00", "\r\nX-Evil: 1"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"a": None}, {"a": [1]}, {"\x00": 1}, ["a"] * 2000, [["a"]]),
    {f"k{i}": i for i in range(600)},
)


def valid_body(name: str) -> dict[str, Any]:
    """The body of a request that is taken; what it tells happened now, not minutes ago when this module was read."""
    body = VALID[name]
    return body | {"occurred_at": datetime.now(UTC).isoformat()} if "occurred_at" in body else body


@pytest.fixture(params=VALID)
def route(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Method and path of a route that takes a body."""
    method, _, path = str(request.param).partition(" ")
    return method, path


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _unchanged(request: pytest.FixtureRequest, shop: Nextbest) -> AsyncIterator[None]:
    """Whatever these tests send, nothing stored changes, unless they are said to send good bodies as well."""
    if request.node.get_closest_marker("usefixtures") is not None:
        yield
        return
    before = await traces(shop)
    yield
    assert await traces(shop) == before


def places(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value inside of a body."""
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the body with another value at the path."""
    changed = copy.deepcopy(body)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


async def test_what_is_not_json_is_refused(api: Instance, route: tuple[str, str]) -> None:
    for body in NOT_JSON:
        problem_of(await api.call(*route, content=body, headers=JSON), 422, "body")


async def test_other_json_than_an_object_is_refused(api: Instance, route: tuple[str, str]) -> None:
    for body in ("null", "[]", "[{}]", "1", "true", '"text"'):
        problem_of(await api.call(*route, content=body, headers=JSON), 422, "body")


async def test_other_content_types_are_refused(api: Instance, route: tuple[str, str]) -> None:
    body = json.dumps(valid_body(" ".join(route)))
    for content_type in CONTENT_TYPES:
        response = await api.call(*route, content=body, headers={"Content-Type": content_type})
        document = problem_of(response, 415, "Content-Type")
        assert "application/json" in document["detail"]
        assert len(response.content) < 1000


async def test_unknown_fields_are_refused_by_name(api: Instance, route: tuple[str, str]) -> None:
    body = valid_body(" ".join(route))
    problem_of(await api.call(*route, json=body | {"surprise": 1}), 422, "surprise")
    problem_of(await api.call(*route, json=body | {"\x00": 1}), 422, "\x00")
    problem_of(await api.call(*route, json=body | {"x" * 10_000: 1}), 422, "x" * 200)


async def test_a_thousand_mistakes_get_a_short_answer(api: Instance, route: tuple[str, str]) -> None:
    mistakes = {f"surprise{i}": None for i in range(2000)}
    response = await api.call(*route, json=valid_body(" ".join(route)) | mistakes)
    assert len(problem_of(response, 422)["errors"]) == 20
    assert len(response.content) < 5000


@pytest.mark.usefixtures("route")
async def test_hostile_values_in_every_place(shop: Nextbest, route: tuple[str, str]) -> None:
    valid = valid_body(" ".join(route))
    refused = []
    # Answers carry the id of their request: these are all of the same one.
    headers = JSON | {"X-Request-ID": "the-same"}
    for place in places(valid):
        for value in HOSTILE:
            body = json.dumps(replaced(valid, place, value))
            response = await shop.api.call(*route, content=body, headers=headers)
            if response.status_code not in (200, 201):
                assert response.status_code in (404, 409, 413, 422), (place, value, response.text)
                problem_of(response, response.status_code)
                assert "X-Evil" not in response.headers
                # What would be lost depends on what is stored by then.
                if "confirm_removal" not in response.text:
                    refused.append((body, response.content))
            elif response.json().get("refused"):  # a batch, whose items are answered for themselves
                refused.append((body, response.content))
    assert len(refused) > 50
    before = await traces(shop)
    for body, earlier in refused:
        assert (await shop.api.call(*route, content=body, headers=headers)).content == earlier
    assert await traces(shop) == before


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("POST /v1/decisions", "limit", "1"),
        ("POST /v1/decisions", "limit", True),
        ("POST /v1/decisions", "limit", 0),
        ("POST /v1/decisions", "limit", 101),
        ("POST /v1/decisions", "deadline_ms", 0),
        ("POST /v1/decisions", "dry_run", "yes"),
        ("POST /v1/decisions", "customer_id", 1025),
        ("POST /v1/decisions", "customer_id", "x" * 129),
        ("POST /v1/decisions", "placement", "a b"),
        ("POST /v1/decisions", "decision_id", "nb001-" + "0" * 32),
        ("POST /v1/decisions", "decision_id", "past-" + "0" * 32),
        ("POST /v1/feedback", "occurred_at", "2026-01-01T00:00:00"),
        ("POST /v1/feedback", "occurred_at", 1_767_225_600),
        ("POST /v1/feedback", "occurred_at", "1767225600"),
        ("POST /v1/feedback", "occurred_at", "9999-12-31T23:59:59-14:00"),
        ("POST /v1/feedback", "occurred_at", "2099-01-01T00:00:00Z"),
        ("POST /v1/feedback", "value", 1.1e15),
        ("POST /v1/feedback", "outcome", "bought"),
        ("PUT /v1/offers/other", "value", -1),
        ("PUT /v1/offers/other", "group", "nowhere"),
        ("PUT /v1/offers/other", "ends_at", "2026-01-01T00:00:00Z"),
        ("PUT /v1/offers/other", "ends_at", "9999-12-31T23:59:59.999-14:00"),
        ("PUT /v1/offers/other", "starts_at", "0001-01-01T00:00:00+14:00"),
        ("PUT /v1/offers/gold/treatments/letter", "language", "de_CH"),
        ("PUT /v1/placements/other", "control_share", 1.01),
        ("PUT /v1/placements/other", "policy", "unknown"),
        ("PUT /v1/placements/other", "default_offers", ["nowhere"]),
        ("PUT /v1/placements/other", "reward_window_s", 0),
    ],
)
async def test_the_field_at_fault_is_named(api: Instance, name: str, field: str, value: Any) -> None:
    method, _, path = name.partition(" ")
    body = valid_body(name) | {field: value}
    if name == "POST /v1/decisions":
        body["dry_run"] = value if field == "dry_run" else False
    problem_of(await api.call(method, path, json=body), 422, field)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("PUT /v1/offers/other", ("contact_limits", 0, "max"), 0),
        ("PUT /v1/offers/other", ("contact_limits", 0, "window_s"), 1e9),
        ("PUT /v1/customers/ann", ("attributes", "age"), [35]),
        ("PUT /v1/customers/ann", ("attributes", "age"), 10**400),
        ("PUT /v1/customers/ann", ("indicators", "spend"), "3.5"),
        ("PUT /v1/customers/ann", ("holdings", 0), ""),
        ("PUT /v1/customers/ann", ("consents", "marketing", 1), "all channels"),
    ],
)
async def test_fields_inside_of_others_are_named(
    api: Instance, name: str, path: tuple[Any, ...], value: Any
) -> None:
    method, _, url = name.partition(" ")
    response = await api.call(method, url, json=replaced(valid_body(name), path, value))
    problem_of(response, 422, ".".join(str(part) for part in path))


@pytest.mark.usefixtures("api")
async def test_of_a_repeated_name_the_last_value_counts(api: Instance) -> None:
    body = '{"placement": "nowhere", "customer_id": "ann", "placement": "home"}'
    answer = await api.ok("POST", "/v1/decisions", content=body, headers=JSON)
    assert answer["placement"] == "home"


@pytest.mark.usefixtures("api")
async def test_json_may_be_called_by_its_other_names(api: Instance) -> None:
    body = json.dumps({"customer_id": "ann", "placement": "home"})
    for content_type in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/ld+json"):
        await api.ok("POST", "/v1/decisions", content=body, headers={"Content-Type": content_type})
    assert (await decide(api))["offers"]
