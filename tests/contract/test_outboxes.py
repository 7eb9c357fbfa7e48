"""Outcomes that wait in a page, of the JavaScript client and of the desk: in a browser, with a made-up service."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from app.console.files import STATIC
from tests.support.browser import open_browser
from tests.support.publishable import sign

JS = Path(__file__).resolve().parents[2] / "clients" / "js" / "src"
SHOP = "http://shop.example"
PAGE = """<!doctype html><title>shop</title><script type="importmap">{"imports": {"htm": "/vendor/htm.mjs",
"preact": "/vendor/preact.mjs", "preact/hooks": "/vendor/preact-hooks.mjs"}}</script>"""
Answer = Callable[[dict[str, Any]], tuple[int, Any]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


class Service:
    """Whoever answers at every address: files of a folder, and feedback as ``answer`` says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[dict[str, Any]] = []
        self.answer: Answer = lambda body: (200, {"items": [{"status": "recorded", "code": 200}] * 9})

    def __call__(self, route: Route) -> None:
        request = route.request
        if request.method == "POST":
            self.told.append(json.loads(request.post_data or ""))
            status, body = self.answer(self.told[-1])
            route.fulfill(status=status, json=body)
            return
        path = self.folder / request.url.removeprefix(f"{SHOP}/")
        if path.suffix in (".js", ".mjs", ".json"):
            route.fulfill(
                path=path, content_type="application/json" if path.suffix == ".json" else "text/javascript"
            )
        else:
            route.fulfill(body=PAGE, content_type="text/html")


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[[Path], tuple[Page, Service]]]:
    """Opens a page at the address of a service of a folder."""
    with browser.new_context() as context:

        def opened(folder: Path) -> tuple[Page, Service]:
            service = Service(folder)
            context.route("**/*", service)
            page = context.new_page()
            page.goto(f"{SHOP}/")
            return page, service

        yield opened


def client(page: Page, tokens: list[str | None]) -> None:
    """Make a client in a page, whose back end gives these tokens, the last one for ever."""
    page.evaluate(
        """async (tokens) => {
            const { Nextbest } = await import("/index.js");
            const customerToken = () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
            window.nextbest = new Nextbest({ url: "", key: "nb_pub_x", customerToken, attempts: 1 });
        }""",
        tokens,
    )


def put(page: Page, decision_id: str, asked: str) -> None:
    """Tell that an offer of a decision was clicked."""
    tell = "([id, asked]) => nextbest.tell({decision_id: id, feedback_until: 'x', asked}, 'gold', 'clicked')"
    page.evaluate(tell, [decision_id, asked])


def test_what_a_visitor_was_shown_is_told_after_a_sign_in(opened: Any) -> None:
    page, service = opened(JS)
    client(page, [sign("ann")])
    for asked in ("visitor", "customer ann", "customer bob"):
        put(page, f"for {asked}", asked)
    assert page.evaluate("nextbest.flush()") is True
    told = {body["items"][0]["decision_id"]: body for body in service.told}
    assert told.keys() == {"for visitor", "for customer ann"}
    visitor = page.evaluate("localStorage.getItem('nextbest:visitor')")
    assert (told["for visitor"]["visitor_id"], "customer_token" in told["for visitor"]) == (visitor, False)
    assert "visitor_id" not in told["for customer ann"]
    assert page.evaluate("[nextbest.outbox.sent, nextbest.outbox.dropped]") == [2, 1]


def test_outcomes_are_told_once_more_when_a_token_is_refused(opened: Any) -> None:
    page, service = opened(JS)
    old, new = sign("ann", iat=1), sign("ann")
    client(page, [old, new])
    taken = service.answer
    service.answer = lambda body: (
        taken(body) if body["customer_token"] == new else (401, {"detail": "it ended"})
    )
    put(page, "d1", "customer ann")
    assert page.evaluate("nextbest.flush()") is True
    assert [body["customer_token"] for body in service.told] == [old, new]
    assert page.evaluate("[nextbest.outbox.sent, nextbest.outbox.dropped]") == [1, 0]
    service.answer = lambda body: (401, {"detail": "it is not valid"})
    put(page, "d2", "customer ann")
    assert page.evaluate("nextbest.flush()") is True
    assert len(service.told) == 4
    assert page.evaluate("[nextbest.outbox.sent, nextbest.outbox.dropped]") == [1, 1]


def test_what_waits_for_a_new_token_is_kept_while_none_can_be_had(opened: Any) -> None:
    page, service = opened(JS)
    client(page, [sign("ann")])
    service.answer = lambda body: (401, {"detail": "it ended"})
    put(page, "d1", "customer ann")
    page.evaluate(
        "nextbest.asker.who().then(() => { nextbest.asker.fetchToken = () => Promise.reject('away') })"
    )
    assert page.evaluate("nextbest.flush()") is False
    assert page.evaluate("[nextbest.outbox.items().length, nextbest.outbox.dropped]") == [1, 0]


def test_the_desk_keeps_what_may_be_taken_later_and_says_what_is_refused(opened: Any) -> None:
    page, service = opened(STATIC)
    page.evaluate(
        """async () => {
            await (await import("/lib/i18n.js")).useLanguage("en");
            window.setTimeout = (work) => { window.due = work; return 1; };
            const { send, watchOutbox } = await import("/lib/outbox.js");
            watchOutbox(({ waiting }) => { window.waiting = waiting; });
            window.told = [];
            addEventListener("told", ({ detail }) => told.push(detail));
            window.send = send;
        }"""
    )
    service.answer = lambda body: (503, {"detail": "away"})
    assert page.evaluate("send({decision_id: 'd1', offer_id: 'gold', outcome: 'presented'})") is False
    for status in (401, 403, 408, 429, 500, 502, 504):
        service.answer = lambda body, status=status: (status, {"detail": "later"})
        page.evaluate("due()")
        assert page.evaluate("[waiting, told]") == [1, []], status
    service.answer = lambda body: (409, {"detail": "it was already accepted"})
    page.evaluate("due()")
    assert page.evaluate("waiting") == 0
    assert len(service.told) == 9
    assert page.evaluate("told") == [
        {"text": "An outcome of gold was refused, and is not told: it was already accepted", "kind": "bad"}
    ]
    read = """async () => {
        const { putAway, watchOutbox } = await import("/lib/outbox.js");
        watchOutbox(({ refused }) => { window.refused = refused; });
        const found = refused.map((one) => one.reason);
        if (window.isRead) refused.forEach(putAway);
        return found;
    }"""
    reasons = []
    for is_read in ("false", "true", "false"):  # said until somebody has read of it
        page.reload()
        page.evaluate(f"window.isRead = {is_read}")
        reasons.append(page.evaluate(read))
    assert reasons == [["it was already accepted"], ["it was already accepted"], []]
    assert len(service.told) == 9
