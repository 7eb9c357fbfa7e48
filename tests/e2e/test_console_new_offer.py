"""Offers that are made in the console, in a real browser: the draft, its treatments and scripts, and the preview."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from app.config import Settings
from tests.support.browser import open_browser
from tests.support.console_pages import opened, serious_violations, visit
from tests.support.console_world import World, open_world
from tests.support.served import Served


@pytest.fixture(scope="module")
def world(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The service with the telephone company, and a key of each role."""
    served = Served(postgres_url, redis_url, tmp_path_factory.mktemp("new-offer"), workers=1)
    settings = Settings(postgres_url=postgres_url, redis_url=redis_url)
    with served.running(), open_world(served.url, settings, visitors=0) as found:
        yield found
    assert "Traceback" not in served.printed()


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Browser]:
    """One browser for all tests here. Its event loop runs in this thread, so it comes after ``world``."""
    with open_browser() as found:
        yield found


def refused(page: Page, label: str, reason: str) -> None:
    """Expect a mistake to be told at its field, to screen readers too."""
    field = page.get_by_label(label, exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator(f"#{(field.get_attribute('aria-describedby') or '').split()[-1]}")).to_contain_text(
        reason
    )


def test_an_offer_is_made_as_a_draft_and_a_wrong_id_is_told_at_its_field(
    browser: Browser, world: World
) -> None:
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers")
        page.get_by_role("link", name="New offer").click()
        expect(page.get_by_role("heading", name="New offer")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("Roaming pass")
        page.get_by_label("Group", exact=True).select_option(label="Extras · Grow")
        page.get_by_label("Value", exact=True).fill("15")
        said = world.http.get("/v1/offers/roaming pass").json()["errors"][0]["reason"]
        for wrong in ("roaming pass", "roaming/pass", ".."):
            page.get_by_label("Offer id", exact=True).fill(wrong)
            refused(page, "Offer id", said[:20])
        page.get_by_label("Offer id", exact=True).fill("tv-pack")
        refused(page, "Offer id", "There is already one with this id.")
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_role("alert")).to_contain_text("There is already one with this id.")
        assert world.http.get("/v1/offers/tv-pack").json()["name"] == "TV pack"
        page.get_by_label("Offer id", exact=True).fill("roaming")
        expect(page.get_by_label("Offer id", exact=True)).not_to_have_attribute("aria-invalid", "true")
        page.get_by_label("Lever (%)").fill("-500")
        page.get_by_role("button", name="Create").click()
        refused(page, "Lever (%)", "-100")
        assert world.http.get("/v1/offers/roaming").status_code == 404
        page.get_by_label("Lever (%)").fill("5")
        page.get_by_label("Reason").fill("summer")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Roaming pass")).to_be_visible()
    made = world.http.get("/v1/offers/roaming").json()
    assert [made[name] for name in ("name", "group", "value", "lever", "status")] == [
        "Roaming pass",
        "extras",
        15,
        5,
        "draft",
    ]
    assert world.http.get("/v1/catalog?kind=offer&id=roaming").json()[0]["reason"] == "summer"


def test_a_new_offer_is_put_into_a_change_set(browser: Browser, world: World) -> None:
    with opened(browser, world, "ops") as page:
        visit(page, "/console/new-offer")
        page.get_by_label("Name", exact=True).fill("Second line")
        page.get_by_label("Offer id", exact=True).fill("second line")
        page.get_by_label("Title of the change set").fill("More lines")
        page.get_by_role("button", name="Add to change set").click()
        refused(page, "Offer id", "letters")
        page.get_by_label("Offer id", exact=True).fill("second-line")
        page.get_by_role("button", name="Add to change set").click()
        expect(page.get_by_text("It is in the change set “More lines”")).to_be_visible()
    (found,) = world.http.get("/v1/changesets").json()["changesets"]
    assert found["items"] == [{"kind": "offer", "id": "second-line", "removal": False}]
    assert world.http.get("/v1/offers/second-line").status_code == 404
    path = f"/v1/changesets/{found['changeset_id']}"
    world.http.post(f"{path}/apply", json={}).raise_for_status()
    assert world.http.get("/v1/offers/second-line").json()["status"] == "draft"


def test_who_may_not_change_offers_sees_no_way_to_make_one(browser: Browser, world: World) -> None:
    with opened(browser, world, "scientist") as page:
        visit(page, "/console/offers")
        expect(page.get_by_role("link", name="New offer")).to_have_count(0)
        page.goto("/console/new-offer")
        expect(page.get_by_role("alert")).to_contain_text("Your role may not see this page.")
        answer = page.request.put("/v1/offers/mine", data={"name": "Mine", "group": "extras"})
        assert answer.status == 403


@pytest.mark.parametrize(("language", "scheme", "width"), [("en", "light", 1280), ("es", "dark", 390)])
def test_everybody_can_make_offers(
    browser: Browser, world: World, language: str, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 900}
    with opened(browser, world, "ops", viewport=size, color_scheme=scheme) as page:
        page.add_init_script(f"localStorage.setItem('nextbest.language', '{language}')")
        visit(page, "/console/new-offer")
        page.locator("input").first.fill("not an id")
        expect(page.locator(".mistake")).to_be_visible()
        assert page.locator("html").get_attribute("lang") == language
        assert serious_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is too wide"
