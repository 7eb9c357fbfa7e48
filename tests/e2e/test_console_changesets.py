"""Change sets in the console, in a real browser, on a service where changes take the approval of another person."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, expect

from app.config import Settings
from app.keys import KeyStore
from storage.postgres import make_engine
from tests.support.browser import open_browser
from tests.support.console_pages import opened, serious_violations, visit
from tests.support.console_world import World, open_world
from tests.support.served import Served
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def ada(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The telephone company as somebody of ops works there."""
    served = Served(postgres_url, redis_url, tmp_path_factory.mktemp("changesets"), workers=1)
    served.env["NEXTBEST_APPROVALS"] = "required"
    settings = Settings(postgres_url=postgres_url, redis_url=redis_url)
    with served.running(), open_world(served.url, settings, visitors=0) as found:
        yield found
    assert "Traceback" not in served.printed()


@pytest.fixture(scope="module")
def bea(ada: World, postgres_url: str) -> World:
    """The same company as another person of ops works there."""

    async def make_key() -> str:
        engine = make_engine(postgres_url, pool_size=1)
        try:
            return await KeyStore(engine).create("ops", "bea")
        finally:
            await engine.dispose()

    key = asyncio.run(make_key())
    headers = {"X-API-Key": key}
    wait_until(lambda: ada.http.get("/v1/groups", headers=headers).is_success, "the key to be known")
    return replace(ada, keys={**ada.keys, "ops": key})


@pytest.fixture(scope="module")
def browser(bea: World) -> Iterator[Browser]:
    """One browser for all tests here. Its event loop runs in this thread, so it comes after ``bea``."""
    with open_browser() as found:
        yield found


def value(world: World) -> float:
    return float(world.http.get("/v1/offers/insurance").json()["value"])


def act(page: Page, action: str, field: str = "Note", text: str = "looked at") -> None:
    """Do something with the change set that is shown, after the question."""
    page.get_by_role("button", name=f"{action} …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(field).fill(text)
    dialog.get_by_role("button", name="Confirm").click()
    expect(dialog).to_have_count(0)


def test_two_persons_change_an_offer_and_take_it_back(browser: Browser, ada: World, bea: World) -> None:
    before = value(ada)
    with opened(browser, ada, "ops") as page:
        visit(page, "/console/offers")
        expect(page.get_by_label("Lever of Screen insurance, percent")).to_have_count(0)
        visit(page, "/console/offers/insurance")
        expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)
        page.get_by_label("Value", exact=True).fill("99")
        page.get_by_label("Title of the change set").fill("Dearer insurance")
        page.keyboard.press("Enter")
        expect(page.get_by_text("It is in the change set “Dearer insurance”")).to_be_visible()
        assert value(ada) == before, "nothing is in force"
        page.get_by_role("link", name="Change sets").click()
        expect(page.get_by_text("take the approval of another person here")).to_be_visible()
        page.get_by_role("link", name="Dearer insurance").click()
        changed = page.get_by_role("listitem").filter(has_text="offers.insurance.value")
        expect(changed).to_contain_text(f"{before:g}")
        expect(changed).to_contain_text("99")
        page.get_by_role("button", name="Show what it would do").click()
        expect(page.get_by_text("Nothing stands against it.")).to_be_visible()
        expect(page.get_by_text("Customers without any offer")).to_be_visible()
        expect(page.get_by_role("button", name="Apply …")).to_have_count(0)
        act(page, "Submit")
        expect(page.get_by_text("submitted", exact=True).first).to_be_visible()
        expect(page.get_by_role("button", name="Approve …")).to_have_count(0)
        address = page.url
    with opened(browser, bea, "ops") as page:
        visit(page, address)
        act(page, "Approve", text="as agreed")
        expect(page.get_by_text("approved by bea")).to_be_visible()
    with opened(browser, ada, "ops") as page:
        visit(page, address)
        act(page, "Apply")
        expect(page.get_by_text("The catalogue is now at version")).to_be_visible()
        assert value(ada) == 99
        expect(page.get_by_text("as agreed")).to_be_visible()
        expect(page.get_by_role("button", name="Roll back …")).to_have_count(0)
        page.get_by_role("button", name="Make the change set that takes it back").click()
        expect(page.get_by_role("heading", name="Back: Dearer insurance")).to_be_visible()
        act(page, "Submit")
        expect(page.get_by_text("submitted", exact=True).first).to_be_visible()
        back = page.url
    with opened(browser, bea, "ops") as page:
        visit(page, back)
        act(page, "Approve")
        act(page, "Apply")
        expect(page.get_by_text("The catalogue is now at version")).to_be_visible()
        assert value(ada) == before
        visit(page, address)
        expect(page.get_by_text("rolled back", exact=True).first).to_be_visible()


def test_a_file_is_proposed_and_rejected(browser: Browser, ada: World, bea: World) -> None:
    with opened(browser, ada, "ops") as page:
        visit(page, "/console/changes")
        text = page.get_by_label("Sections of the catalogue (YAML)")
        text.fill("nextbest: 1\ngroups:\n  extras: {name: Extras, goal: grow, lever: 40}\n")
        page.get_by_role("button", name="Show what it would do").click()
        expect(page.get_by_text("0 added, 1 changed, 0 deleted")).to_be_visible()
        expect(page.get_by_role("button", name="Apply", exact=True)).to_have_count(0)
        page.get_by_label("Title of the change set").fill("Push the extras")
        page.get_by_role("button", name="Make a change set").click()
        expect(page.get_by_role("heading", name="Push the extras")).to_be_visible()
        act(page, "Submit")
        expect(page.get_by_text("submitted", exact=True).first).to_be_visible()
        address = page.url
    with opened(browser, bea, "ops") as page:
        visit(page, address)
        act(page, "Reject", "Reason", "too much")
        expect(page.get_by_text("too much")).to_be_visible()
    with opened(browser, ada, "scientist") as page:
        visit(page, address)
        expect(page.get_by_text("rejected", exact=True).first).to_be_visible()
        expect(page.get_by_role("button", name="Withdraw …")).to_have_count(0)
        visit(page, "/console/changes")
        expect(page.get_by_label("Sections of the catalogue (YAML)")).to_have_count(0)


def test_groups_and_goals_are_proposed_and_nothing_of_them_is_saved_at_once(
    browser: Browser, ada: World
) -> None:
    ada.http.put("/v1/groups/spare", json={"name": "Spare", "goal": "serve"}).raise_for_status()
    with opened(browser, ada, "ops") as page:
        draft, add = page.get_by_label("Change set", exact=True), "Add to change set"
        visit(page, "/console/groups/upgrade")
        expect(page.get_by_text("take the approval of another person here")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("Better ones")
        draft.select_option("")
        page.get_by_label("Title of the change set").fill("Families")
        page.get_by_role("button", name=add).click()
        expect(page.get_by_text("It is in the change set “Families”")).to_be_visible()
        visit(page, "/console/goals/acquire")
        page.get_by_label("Lever (%)").fill("5")
        for button in ("Save", "Create"):
            expect(page.get_by_role("button", name=button, exact=True)).to_have_count(0)
        draft.select_option(label=draft.locator("option").filter(has_text="Families").inner_text())
        page.get_by_role("button", name=add).click()
        page.wait_for_url("/console/changes")
        visit(page, "/console/groups/spare")
        page.get_by_role("button", name="Remove …").click()
        form = page.get_by_test_id("family-removal")
        expect(form.get_by_role("button", name="Remove", exact=True)).to_have_count(0)
        options = form.get_by_label("Change set", exact=True)
        options.select_option(label=options.locator("option").filter(has_text="Families").inner_text())
        form.get_by_role("button", name=add).click()
        expect(form).to_have_count(0)
    (made,) = (c for c in ada.http.get("/v1/changesets").json()["changesets"] if c["title"] == "Families")
    assert made["items"] == [
        {"kind": "goal", "id": "acquire", "removal": False},
        {"kind": "group", "id": "spare", "removal": True},
        {"kind": "group", "id": "upgrade", "removal": False},
    ]
    assert ada.http.get("/v1/groups/upgrade").json()["name"] == "Upgrades"
    assert ada.http.get("/v1/goals/acquire").status_code == 404
    assert ada.http.get("/v1/groups/spare").is_success


def test_what_is_not_shown_is_not_approved(browser: Browser, ada: World, bea: World) -> None:
    name = "long " * 39 + "end"
    groups = "".join(f"  many-{n:03}: {{name: {name}, goal: grow}}\n" for n in range(203))
    made = ada.http.post(
        "/v1/catalog/changeset",
        params={"title": "Many groups"},
        headers={"Content-Type": "application/yaml"},
        content=f"nextbest: 1\ngroups:\n{groups}",
    ).json()
    path = f"/v1/changesets/{made['changeset_id']}"
    assert ada.http.post(f"{path}/submit", json={}).is_success
    with opened(browser, bea, "ops") as page:
        visit(page, f"/console/changes/{made['changeset_id']}")
        shown = page.get_by_role("listitem").filter(has_text=name)
        expect(shown).to_have_count(200)
        expect(page.get_by_role("button", name="Approve …")).to_be_disabled()
        page.get_by_role("button", name="Show all 203").click()
        expect(shown).to_have_count(203)
        act(page, "Approve")
        expect(page.get_by_text("approved by bea")).to_be_visible()


def test_what_others_changed_is_shown_and_rebased(browser: Browser, ada: World) -> None:
    made = ada.http.post("/v1/changesets", json={"title": "Two at once"}).json()
    path = f"/v1/changesets/{made['changeset_id']}"
    assert ada.http.patch(f"{path}/items/group/stay", json={"lever": 11}).is_success
    assert ada.http.patch("/v1/groups/stay", json={"name": "Retention team"}).is_success
    with opened(browser, ada, "ops") as page:
        visit(page, f"/console/changes/{made['changeset_id']}")
        expect(page.get_by_text("groups.stay was changed by others meanwhile:")).to_be_visible()
        page.get_by_role("button", name="Rebase …").click()
        page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
        expect(page.get_by_text("groups.stay was changed by others meanwhile:")).to_have_count(0)
    items = ada.http.get(path).json()["items"]
    assert items[0]["body"] == {"name": "Retention team", "goal": "retain", "lever": 11}


@pytest.mark.parametrize(("language", "scheme", "width"), [("en", "light", 1280), ("es", "dark", 390)])
def test_everybody_can_use_change_sets(
    browser: Browser, ada: World, language: str, scheme: str, width: int
) -> None:
    made = ada.http.post("/v1/changesets", json={"title": "To be looked at", "note": "a note"}).json()
    address = f"/console/changes/{made['changeset_id']}"
    item = f"/v1/changesets/{made['changeset_id']}/items/group/upgrade"
    assert ada.http.patch(item, json={"lever": 3}).is_success
    size = {"width": width, "height": 900}
    with opened(browser, ada, "ops", viewport=size, color_scheme=scheme) as page:
        page.add_init_script(f"localStorage.setItem('nextbest.language', '{language}')")
        for path in ("/console/changes", address, "/console/offers/insurance", "/console/offers"):
            visit(page, path)
            assert page.locator("html").get_attribute("lang") == language
            assert serious_violations(page) == [], f"{path} in {language}, {scheme}"
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
        visit(page, address)
        page.locator("p.row button").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert serious_violations(page) == [], "the question"
