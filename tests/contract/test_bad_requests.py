"""Requests that are odd in everything but their bodies: paths, methods, sizes, headers, parameters."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api import CSV, JSON, Instance, Nextbest, decide, problem_of, traces

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "NONSENSE")


async def test_methods_that_a_path_does_not_have(api: Instance) -> None:
    for path, operations in api.app.openapi()["paths"].items():
        url = path.replace("{kind}", "customers").replace("{version}", "1").replace("{", "").replace("}", "")
        also = {"HEAD"} if path in ("/livez", "/readyz") else set()
        if path.startswith("/public/"):
            continue  # takes other keys than these, and those are asked for first
        if path == "/v1/customers/search":
            operations = (
                operations | api.app.openapi()["paths"]["/v1/customers/{customer_id}"]
            )  # it may be an id
        for method in set(METHODS) - {name.upper() for name in operations} - also:
            response = await api.call(method, url, content=b"x" if method == "POST" else None)
            assert response.status_code == 405, (method, path)
            assert response.headers["Allow"]
            assert response.headers["Content-Type"] == "application/problem+json"


async def test_load_balancers_may_ask_by_head(api: Instance) -> None:
    for path in ("/livez", "/readyz"):
        assert (await api.call("HEAD", path, role=None)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v2/decisions", "/v1/none", "/v1/decisions/", "/v1/offers/gold/", "/docs/x"]
)
async def test_unknown_paths(api: Instance, path: str) -> None:
    """A slash too many is no redirect either: that would trust the caller's Host header, and lose the body."""
    for method in ("GET", "POST"):
        response = await api.call(method, path, headers={"Host": "evil.example"})
        problem_of(response, 404)
        assert "location" not in response.headers


ODD_IDS = {
    **dict.fromkeys(
        ("a b", "ä", "💥", ".a", "-a", "a\x00", "a\r\nX-Evil: 1", "x" * 65, "\u202e", "'", "{x}"), 422
    ),
    **dict.fromkeys(("a/b", "../gold", "gold/../silver", "a//b", "/"), 404),
}


@pytest.mark.parametrize("name", ODD_IDS, ids=ascii)
@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/v1/offers/{}", "offer_id"),
        ("PUT", "/v1/offers/{}", "offer_id"),
        ("PUT", "/v1/offers/gold/treatments/{}", "treatment_id"),
        ("GET", "/v1/placements/{}", "placement_id"),
        ("PUT", "/v1/placements/{}", "placement_id"),
        ("PUT", "/v1/groups/{}", "group_id"),
    ],
)
async def test_odd_ids_in_paths(api: Instance, method: str, path: str, field: str, name: str) -> None:
    body: dict[str, Any] = {"json": {}} if method == "PUT" else {}
    response = await api.call(method, path.format(quote(name, safe="")), **body)
    status = ODD_IDS[name]
    problem_of(response, status, field if status == 422 else None)
    assert "X-Evil" not in response.headers


@pytest.mark.parametrize("name", ["a%20b", "%00", "nb000-0", "💥", "x" * 129, "a%0d%0ab"])
async def test_odd_decision_ids_in_paths(api: Instance, name: str) -> None:
    response = await api.call("GET", f"/v1/decisions/{name}")
    problem_of(response, 404 if name == "nb000-0" else 422)


@pytest.mark.parametrize(
    "name",
    ["a/b", "/", "//", "../../livez", "ä", "💥", "a b", "?", "#", "%", "a%2Fb", "a+b", "x" * 128, "{b7}"],
)
async def test_customers_may_have_any_name(api: Instance, name: str) -> None:
    path = f"/v1/customers/{quote(name, safe='')}"
    await api.ok("PUT", path, json={"attributes": {"name": name[:9]}})
    customer = await api.ok("GET", path)
    assert (customer["customer_id"], customer["attributes"]) == (name, {"name": name[:9]})
    answer = await decide(api, name)
    assert (await api.ok("GET", f"/v1/decisions/{answer['decision_id']}"))["customer_id"] == name


@pytest.mark.parametrize("name", ["%00", "a%00b", "x" * 129, "%ff", "a%c3", "%ed%a0%80"])
async def test_customers_that_cannot_be(api: Instance, name: str) -> None:
    for method in ("GET", "PUT"):
        body: dict[str, Any] = {"json": {}} if method == "PUT" else {}
        problem_of(await api.call(method, f"/v1/customers/{name}", **body), 422, "customer_id")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("form=2026-01-01T00:00:00Z", "form"),
        ("by=", "by.0"),
        ("by=colour", "by.0"),
        ("by=policy&by=colour", "by.1"),
        ("&".join(["by=policy"] * 8), "by"),
        ("from=yesterday", "from"),
        ("from=2026-01-01", "from"),
        ("from=2026-01-01T00:00:00", "from"),
        ("from=1767225600", "from"),
        ("from=0001-01-01T00:00:00%2B14:00", "from"),
        ("to=9999-12-31T23:59:59-14:00", "to"),
        ("to=10000-01-01T00:00:00Z", "to"),
        ("from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("placement=a%00b", "placement"),
        ("policy=thompson%401", "policy"),
        ("policy=%25", "policy"),
        ("placement=%ff", "placement"),
    ],
)
async def test_bad_parameters_of_the_report(api: Instance, query: str, field: str) -> None:
    problem_of(await api.call("GET", f"/v1/reports/acceptance?{query}"), 422, field)


@pytest.mark.parametrize(
    "query", ["from=0001-01-01T00:00:00Z", "to=9999-12-31T23:59:59.999999Z", "x" * 5000, "%"]
)
async def test_the_ends_of_the_calendar_are_no_outage(api: Instance, query: str) -> None:
    response = await api.call("GET", f"/v1/reports/acceptance?{query}")
    assert response.status_code in (200, 422)


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body of ``size`` bytes that does not say how long it is."""
    for start in range(0, size, 10_000):
        yield b" " * min(10_000, size - start)


@pytest.mark.parametrize(
    ("path", "limit", "headers"),
    [("/v1/decisions", "body_bytes", JSON), ("/v1/imports/customers", "import_bytes", CSV)],
)
async def test_bodies_have_a_limit(shop: Nextbest, path: str, limit: str, headers: dict[str, str]) -> None:
    size: int = getattr(shop.settings, limit)
    before = await traces(shop)
    for content in (b" " * (size + 1), chunks(size + 1)):
        response = await shop.api.call("POST", path, content=content, headers=headers)
        assert str(size) in problem_of(response, 413)["detail"]
    for content in (b" " * size, chunks(size)):
        problem_of(await shop.api.call("POST", path, content=content, headers=headers), 422, "body")
    assert await traces(shop) == before


@pytest.mark.parametrize(
    ("length", "status"),
    [("9" * 5000, 413), ("9" * 19, 413), ("65537", 413), ("-1", 422), ("1e3", 422), ("", 422), ("0x10", 422)],
)
async def test_lengths_that_lie(api: Instance, length: str, status: int) -> None:
    headers = JSON | {"Content-Length": length}
    problem_of(await api.call("POST", "/v1/decisions", content=b"{}", headers=headers), status)


async def test_a_length_that_lies_does_not_lift_the_limit(api: Instance) -> None:
    headers = JSON | {"Content-Length": "-1"}
    problem_of(await api.call("POST", "/v1/decisions", content=b" " * 70_000, headers=headers), 413)


async def test_a_body_too_large_is_refused_before_it_is_read(api: Instance) -> None:
    sent = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": b" " * 10_000, "more_body": True}

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    key = (b"x-api-key", api.keys["admin"].encode())
    for headers, reads in ([key, (b"content-length", b"100000000")], 0), ([key], 7):
        statuses: list[Any] = []
        sent = 0
        content_type = (b"content-type", b"application/json")
        scope = {
            **{"type": "http", "method": "POST", "path": "/v1/decisions", "query_string": b""},
            **{"headers": [*headers, content_type], "state": {"nextbest": api.state}},
            **{"scheme": "http", "server": ("nextbest", 80), "client": ("test", 1), "root_path": ""},
        }
        await api.app(scope, receive, send)
        assert statuses[0] == 413
        assert sent == reads


async def test_headers_of_a_caller_do_not_come_back(api: Instance) -> None:
    evil = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-For": "1.2.3.4",
        "Origin": "https://evil.example",
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/v1/customers/ann",
        "Accept": "text/html",
        "Accept-Encoding": "x" * 1000,
        "Cookie": b"a=\xff\r\nX-Evil: 1",
    }
    response = await api.call("GET", "/v1/offers/nothing", headers=evil)
    problem_of(response, 404)
    assert not {"x-evil", "access-control-allow-origin", "set-cookie", "location"} & {*response.headers}
