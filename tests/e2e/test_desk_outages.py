"""The desk in a real browser while Redis or Postgres is really down: agents go on, and what they tell is not lost."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.config import Settings
from app.embedded.servers import EmbeddedServers
from tests.support.console_pages import opened, visit
from tests.support.console_world import World, open_world
from tests.support.installation import hardy_servers
from tests.support.outages import How, postgres_down, redis_down
from tests.support.served import Served
from tests.support.waiting import DEADLINE_S, wait_until

PATIENCE_MS = DEADLINE_S * 1000


@pytest.fixture(scope="module")
def servers() -> Iterator[EmbeddedServers]:
    """Servers of this module, which it may kill."""
    with hardy_servers() as ours:
        yield ours


@pytest.fixture(scope="module")
def world(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The telephone company on these servers."""
    # Soon enough for agents to wait for it, and longer than a busy machine keeps a write waiting that must be on disk.
    served = Served(*servers.urls, tmp_path_factory.mktemp("desk"), workers=1, redis_stall_ms=2_000)
    settings = Settings(postgres_url=servers.urls.postgres_url, redis_url=servers.urls.redis_url)
    with served.running(), open_world(served.url, settings, visitors=0) as found:
        yield found


def call(page: Page, customer: str) -> None:
    """Take a customer's call, and wait until the answer is shown."""
    page.get_by_label("Customer id").fill(customer)
    page.keyboard.press("Enter")
    expect(page.locator("#offers-title")).to_be_focused(timeout=PATIENCE_MS)


def offers_after_another_try(page: Page) -> bool:
    """Ask once more by the button of an answer without offers, and return whether there are some now."""
    page.get_by_role("button", name="Try again").click()
    offers = page.get_by_role("article").first
    expect(offers.or_(page.get_by_role("button", name="Try again", disabled=False))).to_be_visible(
        timeout=PATIENCE_MS
    )
    return offers.is_visible()


def told(world: World, customer: str) -> list[str]:
    """Return what is known to have come of the first offer of a customer's latest decision.

    Nothing, while the archive cannot be read yet or has no decision.
    """
    answer = world.http.get(f"/v1/customers/{customer}/decisions")
    assert answer.status_code in (200, 503), answer.text
    latest = answer.json()["decisions"][:1] if answer.is_success else []
    return [o["outcome"] for decision in latest for o in decision["offers"][0]["outcomes"]]


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_what_an_agent_tells_while_redis_is_down_is_recorded_when_it_is_back(
    browser: Browser, world: World, servers: EmbeddedServers, how: How
) -> None:
    customer, stranger = f"c{70 + len(how)}", f"c{90 + len(how)}"
    with opened(browser, world, "agent") as page:
        visit(page, "/console/desk")
        call(page, customer)
        with redis_down(servers, how):
            page.keyboard.press("p")
            expect(page.get_by_text("1 outcomes wait")).to_be_visible(timeout=PATIENCE_MS)
            call(page, stranger)
            withheld = page.get_by_role("alert").filter(
                has_text="No offer may be made until it is well again"
            )
            expect(withheld).to_contain_text("contact history cannot be read")
            expect(page.get_by_text("no offer fits")).to_have_count(0)
        expect(page.get_by_text("1 outcomes wait")).to_have_count(0, timeout=PATIENCE_MS)
        wait_until(lambda: offers_after_another_try(page), "offers, once the history can be read")
        expect(withheld).to_have_count(0)
    wait_until(lambda: told(world, customer) == ["presented"], "the outcome to be recorded, once")


def test_a_no_after_which_offers_are_withheld_is_asked_with_again(
    browser: Browser, world: World, servers: EmbeddedServers
) -> None:
    with opened(browser, world, "agent") as page:
        visit(page, "/console/desk")
        call(page, "c130")
        with redis_down(servers, "silent"):
            page.keyboard.press("r")
            expect(page.get_by_role("group", name="Why not?")).to_be_visible()
            page.keyboard.press("1")
            expect(page.get_by_text("No offer may be made until it is well again")).to_be_visible(
                timeout=PATIENCE_MS
            )
        wait_until(lambda: offers_after_another_try(page), "offers, once the history can be read")
        expect(page.get_by_test_id("difference")).to_contain_text("After")


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_agents_go_on_while_postgres_is_down(
    browser: Browser, world: World, servers: EmbeddedServers, how: How
) -> None:
    customer = f"c{110 + len(how)}"
    article = {"title": "How to leave us", "body": "A contract ends with its month.", "tags": ["cancel"]}
    world.http.put("/v1/articles/leaving", json=article).raise_for_status()
    # Somebody whose profile the service knows.
    asked = {"customer_id": customer, "placement": "call-centre", "dry_run": True}
    world.http.post("/v1/decisions", json=asked).raise_for_status()
    with opened(browser, world, "agent") as page:
        visit(page, "/console/desk")
        with postgres_down(servers, how):
            call(page, customer)
            expect(page.get_by_role("article").first).to_be_visible()
            page.keyboard.press("p")
            expect(page.get_by_role("article").first).to_contain_text("presented", timeout=PATIENCE_MS)
            page.get_by_label("What the customer says").fill("cancelling")
            expect(page.get_by_text("How to leave us")).to_be_visible(timeout=PATIENCE_MS)
    wait_until(lambda: told(world, customer) == ["presented"], "the outcome to be archived, once")
