"""The JavaScript client in a real browser: its sample page asks a running service from another origin."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from app.config import Settings
from app.publishable.settings import PublishableSettings
from app.publishable.store import PublishableStore
from nextbest_client import Client
from storage.postgres import make_engine
from tests.support.browser import open_browser
from tests.support.public_document import STORED, public_document, written
from tests.support.publishable import SECRET, sign
from tests.support.waiting import wait_until

JS = Path(__file__).resolve().parents[2] / "clients" / "js"
PLACEMENT = {"channel": "web", "slots": 2, "control_share": 0, "deadline_ms": 5000}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: Any) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """The origin of the shop: a server of the client's files, at another port than the service."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(JS)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def service(environment: dict[str, str]) -> Iterator[Client]:
    """A running service with two offers at the placement `home`."""
    with Client(environment["URL"], environment["KEY"], timeout_s=30.0) as client:
        client.request("PUT", "/v1/groups/cards", {"name": "Cards", "goal": "grow"})
        for offer_id in ("gold", "silver"):
            client.request("PUT", f"/v1/offers/{offer_id}", {"name": offer_id, "group": "cards"})
            treatment = {"channel": "web", "language": "en", "title": f"The {offer_id} card"}
            client.request("PUT", f"/v1/offers/{offer_id}/treatments/banner", treatment)
        client.request("PUT", "/v1/placements/home", PLACEMENT)
        yield client


@pytest.fixture(scope="module")
def address(settings: Settings, service: Client, origin: str, environment: dict[str, str]) -> str:
    """The address of the sample page, with a key for its origin."""

    async def make() -> str:
        assert settings.postgres_url is not None
        engine = make_engine(settings.postgres_url, pool_size=1)
        try:
            values = {"placements": ["home"], "origins": [origin], "visitor_per_minute": 10_000}
            tokens = {"tokens": {"algorithm": "HS256", "key": SECRET}}
            return await PublishableStore(engine).create(
                "sample", PublishableSettings.model_validate(values | tokens)
            )
        finally:
            await engine.dispose()

    key = asyncio.run(make())
    wait_until(lambda: _knows(environment["URL"], key, origin), "the key to be known")
    return f"{origin}/sample/index.html?{urlencode({'url': environment['URL'], 'key': key})}"


def _knows(url: str, key: str, origin: str) -> bool:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return httpx.options(f"{url}/public/v1/feedback?key={key}", headers=headers).status_code == 204


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    """A real browser, opened last and closed first: while it is open no other event loop can run here."""
    with open_browser() as found:
        yield found


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A new visitor."""
    with browser.new_context(viewport={"width": 400, "height": 500}) as found:
        yield found


def visit(context: BrowserContext, address: str) -> Page:
    """Open the page and wait until its offers are there."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    return page


def decision_of(page: Page) -> str:
    """The id of the decision that a page shows."""
    find = "Object.entries(sessionStorage).find(([k]) => k.startsWith('nextbest:decision:'))[1]"
    return str(page.evaluate(find))


def outcomes(service: Client, decision_id: str) -> set[tuple[str, str]]:
    """What the service knows of a decision."""
    record = service.request("GET", f"/v1/decisions/{decision_id}")
    return {(found["offer_id"], found["outcome"]) for found in record["outcomes"]}


def told(service: Client, decision_id: str, *expected: tuple[str, str]) -> None:
    """Wait until the service knows these outcomes and no others."""
    wait_until(lambda: outcomes(service, decision_id) == set(expected), f"{expected} to be told")


def test_an_offer_is_presented_when_it_was_really_seen(
    context: BrowserContext, address: str, service: Client
) -> None:
    page = visit(context, address)
    preflights: list[str] = []
    page.on("request", lambda request: preflights.append(request.method))
    offers = [card.get_attribute("data-offer") or "" for card in page.query_selector_all(".offer")]
    assert sorted(offers) == ["gold", "silver"]
    assert page.inner_text(".offer >> nth=0").startswith(f"The {offers[0]} card")
    decision_id = decision_of(page)
    page.wait_for_timeout(1200)
    assert outcomes(service, decision_id) == set(), "below the fold nobody has seen it"
    page.locator(".offer").nth(1).scroll_into_view_if_needed()
    told(service, decision_id, *((offer, "presented") for offer in offers))
    page.locator(".offer button").nth(0).click()
    page.locator(".offer").nth(1).get_by_text("Not for me").click()
    told(
        service,
        decision_id,
        *((offer, "presented") for offer in offers),
        (offers[0], "clicked"),
        (offers[1], "rejected"),
    )
    page.wait_for_function("sessionStorage.getItem('nextbest:outbox') === null")
    assert "OPTIONS" not in preflights


def test_one_visit_gets_one_decision_and_another_visit_another(
    browser: Browser, context: BrowserContext, address: str
) -> None:
    page = visit(context, address)
    first = decision_of(page)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert decision_of(page) == first
    again = "nextbest.decide('home').then((d) => d.decision_id)"
    assert page.evaluate(again) == first
    fresh = page.evaluate("nextbest.decide('home', {fresh: true}).then((d) => d.decision_id)")
    assert fresh != first
    assert page.evaluate(again) == fresh
    visitor = "localStorage.getItem('nextbest:visitor')"
    other_tab = visit(context, address)
    assert decision_of(other_tab) != first
    assert other_tab.evaluate(visitor) == page.evaluate(visitor)


def test_what_was_told_survives_the_end_of_the_page(
    context: BrowserContext, address: str, service: Client
) -> None:
    """Requests fail; the browser's beacon brings what was told all the same as the page goes away."""
    page = visit(context, address)
    decision_id = decision_of(page)
    offer = page.locator(".offer").nth(0).get_attribute("data-offer") or ""
    page.evaluate("() => { window.fetch = () => Promise.reject(new TypeError('away')) }")
    tell = "([id, offer]) => nextbest.tell({decision_id: id, feedback_until: 'x'}, offer, 'clicked')"
    page.evaluate(tell, [decision_id, offer])
    page.goto("about:blank")
    told(service, decision_id, (offer, "clicked"))


def test_what_no_beacon_brought_is_told_by_the_next_page(
    context: BrowserContext, address: str, service: Client
) -> None:
    page = visit(context, address)
    decision_id = decision_of(page)
    offer = page.locator(".offer").nth(0).get_attribute("data-offer") or ""
    page.route("**/public/v1/feedback*", lambda route: route.abort())
    tell = "([id, offer]) => nextbest.tell({decision_id: id, feedback_until: 'x'}, offer, 'accepted')"
    page.evaluate(tell, [decision_id, offer])
    page.evaluate("navigator.sendBeacon = () => true")  # the browser took it, and it never came
    page.goto("about:blank")
    assert outcomes(service, decision_id) == set()
    page.unroute("**/public/v1/feedback*")
    page.goto(address)
    told(service, decision_id, (offer, "accepted"))


def test_while_the_service_is_away_the_page_shows_its_own_offers(
    context: BrowserContext, address: str
) -> None:
    context.route("**/public/v1/*", lambda route: route.fulfill(status=503))
    page = visit(context, address)
    assert page.inner_text(".offer").startswith("Our offers of the week")
    assert page.inner_text("#state") == "These are the shop's own offers."
    assert page.evaluate("nextbest.decide('other').catch((e) => e.name)") == "Unavailable"
    assert page.evaluate(
        "nextbest.decide('home').then((d) => [d.local, nextbest.tell(d, 'ours', 'clicked')])"
    ) == [
        True,
        False,
    ]


def test_a_busy_service_is_asked_again(context: BrowserContext, address: str) -> None:
    left = [429, 503]

    def busy(route: Route) -> None:
        headers = {"Access-Control-Allow-Origin": "*", "Retry-After": "0"}
        route.fulfill(status=left.pop(), headers=headers) if left else route.continue_()

    context.route("**/public/v1/decisions*", busy)
    page = visit(context, address)
    assert page.locator(".offer").count() == 2
    assert left == []


def test_the_customer_comes_from_the_token_and_changes_with_it(
    context: BrowserContext, address: str, service: Client
) -> None:
    page = visit(context, f"{address}&{urlencode({'token': sign('ann')})}")
    decision_id = decision_of(page)
    assert service.request("GET", f"/v1/decisions/{decision_id}")["customer_id"] == "ann"
    # Another customer signs in, in the same tab.
    page.evaluate("(token) => { nextbest.asker.fetchToken = () => token }", sign("bob"))
    page.evaluate("nextbest.customerChanged()")
    bobs = page.evaluate("nextbest.decide('home').then((d) => d.decision_id)")
    assert bobs != decision_id
    assert service.request("GET", f"/v1/decisions/{bobs}")["customer_id"] == "bob"
    # A token that is not valid any more is asked for anew.
    page.evaluate("(token) => { nextbest.asker.token = token }", sign("bob", iat=1, exp=2) + "x")
    assert page.evaluate("nextbest.decide('home').then((d) => d.decision_id)") == bobs
    page.evaluate("nextbest.asker.fetchToken = () => 'no token'; nextbest.asker.forget()")
    assert page.evaluate("nextbest.decide('home').catch((e) => e.status)") == 401


def test_the_outbox_is_bounded_and_what_is_refused_is_dropped(context: BrowserContext, address: str) -> None:
    page = visit(context, address)
    fill = """() => {
        nextbest.outbox.most = 5;
        for (let n = 0; n < 8; n += 1) {
            nextbest.tell({decision_id: `pub-${'0'.repeat(20)}-${n}`, feedback_until: 'x'}, 'gold', 'clicked');
        }
        return [nextbest.outbox.items().length, nextbest.outbox.dropped];
    }"""
    assert page.evaluate(fill) == [5, 3]
    assert page.evaluate("nextbest.flush()") is True
    assert page.evaluate("[nextbest.outbox.items().length, nextbest.outbox.dropped]") == [0, 8]


def test_the_page_goes_on_where_nothing_is_kept(context: BrowserContext, address: str) -> None:
    context.add_init_script(
        "for (const name of ['sessionStorage', 'localStorage'])"
        " Object.defineProperty(window, name, {get() { throw new Error('forbidden') }})"
    )
    page = visit(context, address)
    assert page.locator(".offer").count() == 2
    ask = "nextbest.decide('home').then((d) => d.decision_id)"
    assert page.evaluate(ask) == page.evaluate(ask)


def test_the_types_are_made_of_the_present_document() -> None:
    """`make js` writes the types from this file; here it is only told whether it is up to date."""
    assert STORED.read_text(encoding="utf-8") == written(public_document()), "run `make js`"
    types = (JS / "types" / "openapi.d.ts").read_text(encoding="utf-8")
    for name, schema in json.loads(STORED.read_text(encoding="utf-8"))["components"]["schemas"].items():
        assert f"{name}:" in types
        assert all(field in types for field in schema.get("properties", ()))


def test_the_package_has_no_dependencies_and_no_addresses() -> None:
    package = json.loads((JS / "package.json").read_text(encoding="utf-8"))
    assert "dependencies" not in package
    lock = json.loads((JS / "package-lock.json").read_text(encoding="utf-8"))
    assert not [name for name, found in lock["packages"].items() if "resolved" in found]
    for source in (JS / "src").glob("*.js"):
        imported = [
            line for line in source.read_text(encoding="utf-8").splitlines() if line.startswith("import")
        ]
        assert all('from "./' in line for line in imported), source.name
