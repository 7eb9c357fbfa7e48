"""Editors of the console in a real browser when somebody else saves the same first: nothing is written over unseen."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from app.keys import Role
from tests.support.console_pages import ask_for, opened, serious_violations, visit
from tests.support.console_world import World

OFFER = "/v1/offers/fibre-600"
TREATMENT = "/v1/offers/tv-pack/treatments/page"


@pytest.fixture
def page(browser: Browser, world: World) -> Iterator[Page]:
    """The console as somebody of ops sees it."""
    with opened(browser, world, "ops") as found:
        yield found


def theirs(world: World, path: str, **changes: Any) -> None:
    """Somebody else saves changes."""
    world.http.patch(path, json=changes).raise_for_status()


def newest(world: World, path: str) -> Any:
    """A thing as it is in force."""
    return world.http.get(path).raise_for_status().json()


def answer_late(page: Page, path: str, times: int) -> None:
    """Let reads of a thing be answered as now, so many times: by a process that has not heard of what comes."""
    earlier = [page.request.get(path) for _ in range(times)]

    def answer(route: Route) -> None:
        if route.request.method == "GET" and earlier:
            route.fulfill(response=earlier.pop())
        else:
            route.continue_()

    page.route(f"**{path}", answer)


def shown(page: Page) -> Locator:
    """The note on what somebody else saved meanwhile."""
    return page.get_by_test_id("meanwhile")


def test_an_offer_that_somebody_else_saved_is_shown_and_saved_on_top(page: Page, world: World) -> None:
    visit(page, "/console/offers/fibre-600")
    before = newest(world, OFFER)
    page.get_by_label("Value", exact=True).fill("75")
    page.get_by_label("Name", exact=True).fill("Fibre for you")
    answer_late(page, OFFER, 2)
    theirs(world, OFFER, value=80, lever=10)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(shown(page)).to_contain_text("Nothing of it was written over.")
    expect(shown(page).get_by_role("listitem")).to_have_text(
        [f"Value {before['value']:g} → 80", f"Lever (%) {before['lever']:g} → 10"]
    )
    expect(shown(page)).to_contain_text(
        "You have changed this too, and saving would replace what they wrote: Value"
    )
    expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Fibre for you")
    assert serious_violations(page) == []
    now = newest(world, OFFER)
    assert (now["name"], now["value"], now["lever"]) == (before["name"], 80, 10), "nothing is written over"
    shown(page).get_by_role("button", name="Go on with my changes").click()
    expect(shown(page)).to_have_count(0)
    expect(page.get_by_label("Lever (%)")).to_have_value("10")
    expect(page.get_by_label("Value", exact=True)).to_have_value("75")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Fibre for you", level=1)).to_be_visible()
    now = newest(world, OFFER)
    assert (now["name"], now["value"], now["lever"]) == ("Fibre for you", 75, 10)


def test_an_offer_is_taken_as_somebody_else_saved_it(page: Page, world: World) -> None:
    visit(page, "/console/offers/mobile-plus")
    path = "/v1/offers/mobile-plus"
    page.get_by_label("Lever (%)").fill("-20")
    for value in (41, 42):  # once more, when one has gone on
        theirs(world, path, value=value)
        page.get_by_role("button", name="Save", exact=True).click()
        expect(shown(page).get_by_role("listitem")).to_have_count(1)
        expect(shown(page)).to_contain_text(f"→ {value}")
        expect(shown(page)).not_to_contain_text("would replace")
        assert (newest(world, path)["value"], newest(world, path)["lever"]) == (value, 0)
        if value == 41:
            shown(page).get_by_role("button", name="Go on with my changes").click()
    shown(page).get_by_role("button", name="Take theirs, without my changes").click()
    expect(page.get_by_label("Value", exact=True)).to_have_value("42")
    expect(page.get_by_label("Lever (%)")).to_have_value("0")
    expect(page.get_by_text("Nothing changed")).to_be_visible()
    now = newest(world, path)
    assert (now["value"], now["lever"]) == (42, 0)


def test_an_offer_whose_status_somebody_else_changed_keeps_it(page: Page, world: World) -> None:
    visit(page, "/console/offers/insurance")
    page.get_by_label("Value", exact=True).fill("13")
    body = {"status": "paused", "reason": "sold out"}
    world.http.post("/v1/offers/insurance/status", json=body).raise_for_status()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(shown(page).get_by_role("listitem")).to_have_text(["Status live → paused"])
    shown(page).get_by_role("button", name="Go on with my changes").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Screen insurance is saved")).to_be_visible()
    now = newest(world, "/v1/offers/insurance")
    assert (now["status"], now["value"]) == ("paused", 13)


def test_a_treatment_that_somebody_else_saved_is_shown_and_saved_on_top(page: Page, world: World) -> None:
    theirs(world, TREATMENT, attributes={"colour": "gold", "places": 3})
    visit(page, "/console/offers/tv-pack")
    page.get_by_role("button", name="Edit treatment page").click()
    form = page.get_by_test_id("treatment-form")
    save = form.get_by_role("button", name="Save")
    form.get_by_label("Message").fill("Mine")
    form.get_by_label("Text of the button").fill("Watch")
    form.get_by_label("Value of 1").fill("silver")
    expect(save).to_be_enabled()
    theirs(world, TREATMENT, message="Theirs", legal="No refunds", attributes={"places": 4})
    save.click()
    expect(shown(page).get_by_role("listitem")).to_have_count(3)
    expect(shown(page)).to_contain_text("Message Good news about TV pack. → Theirs")
    expect(shown(page)).to_contain_text("Legal text – → No refunds")
    expect(shown(page)).to_contain_text("would replace what they wrote: Message, Attributes")
    assert serious_violations(page) == []
    assert newest(world, TREATMENT)["message"] == "Theirs"
    shown(page).get_by_role("button", name="Go on with my changes").click()
    expect(form.get_by_label("Legal text")).to_have_value("No refunds")
    expect(form.get_by_label("Message")).to_have_value("Mine")
    save.click()
    expect(form).to_have_count(0)
    now = newest(world, TREATMENT)
    assert (now["message"], now["legal"], now["button"]) == ("Mine", "No refunds", "Watch")
    assert now["attributes"] == {"colour": "silver", "places": 4}


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/console/offers/tv-pack", "/v1/offers/tv-pack"),
        ("/console/groups/upgrade", "/v1/groups/upgrade"),
    ],
)
def test_what_was_saved_is_saved_again_though_another_process_heard_of_it_later(
    page: Page, world: World, address: str, path: str
) -> None:
    visit(page, address)
    save = page.get_by_role("button", name="Save", exact=True)
    for lever in (11, 12):
        page.get_by_label("Lever (%)").fill(str(lever))
        answer_late(page, path, 3)
        save.click()
        expect(page.get_by_text("Nothing changed")).to_be_visible()
        expect(page.get_by_label("Lever (%)")).to_have_value(str(lever))
        assert newest(world, path)["lever"] == lever


def test_a_new_group_is_shown_though_another_process_heard_of_it_later(page: Page, world: World) -> None:
    visit(page, "/console/new-group")
    page.get_by_label("Group id", exact=True).fill("watches")
    page.get_by_label("Name", exact=True).fill("Watches")
    answer_late(page, "/v1/groups/watches", 4)
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("heading", name="Group: Watches")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_treatment_is_taken_as_somebody_else_saved_it(page: Page, world: World) -> None:
    path = "/v1/offers/stay-discount/treatments/page"
    visit(page, "/console/offers/stay-discount")
    page.get_by_role("button", name="Edit treatment page").click()
    form = page.get_by_test_id("treatment-form")
    form.get_by_label("Message").fill("Mine")
    expect(form.get_by_role("button", name="Save")).to_be_enabled()
    theirs(world, path, message="Theirs")
    form.get_by_role("button", name="Save").click()
    shown(page).get_by_role("button", name="Take theirs, without my changes").click()
    expect(form.get_by_label("Message")).to_have_value("Theirs")
    expect(form.get_by_role("button", name="Save")).to_be_disabled()
    assert newest(world, path)["message"] == "Theirs"


@pytest.mark.parametrize(
    ("address", "path", "label"),
    [
        ("/console/offers", "/v1/offers/tv-pack", "Lever of TV pack, percent"),
        ("/console/groups", "/v1/groups/extras", "Lever of Extras, percent"),
    ],
)
def test_a_lever_that_somebody_else_moved_is_not_moved_unseen(
    page: Page, world: World, address: str, path: str, label: str
) -> None:
    visit(page, address)
    lever = page.get_by_label(label)
    lever.fill("15")
    theirs(world, path, lever=-30)
    lever.press("Enter")
    expect(page.get_by_text("Somebody else has changed it to -30 meanwhile.")).to_be_visible()
    expect(lever).to_have_value("15")
    assert newest(world, path)["lever"] == -30
    lever.press("Enter")
    expect(page.get_by_text("is saved and in force").first).to_be_visible()
    assert newest(world, path)["lever"] == 15


def test_a_file_is_not_applied_on_what_was_not_looked_at(page: Page, world: World) -> None:
    visit(page, "/console/changes")
    page.get_by_label("Sections of the catalogue (YAML)").fill(
        "nextbest: 1\ngroups:\n  stay: {name: Retention, goal: retain, lever: 25}\n"
    )
    look, apply = "Show what it would do", page.get_by_role("button", name="Apply", exact=True)
    page.get_by_role("button", name=look).click()
    expect(page.get_by_text("0 added, 1 changed, 0 deleted")).to_be_visible()
    theirs(world, "/v1/groups/stay", lever=7)
    apply.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("as agreed")
    dialog.get_by_role("button", name="Confirm").click()
    expect(dialog.get_by_role("alert")).to_contain_text("read it again")
    assert newest(world, "/v1/groups/stay")["lever"] == 7
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name=look).click()
    expect(page.get_by_role("listitem").filter(has_text="groups.stay.lever")).to_contain_text("7")
    apply.click()
    dialog.get_by_label("Reason").fill("as agreed")
    dialog.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("The catalogue is now at version")).to_be_visible()
    assert newest(world, "/v1/groups/stay")["lever"] == 25


def sign_in_in_another_tab(page: Page, world: World, role: Role) -> None:
    """The cookie of the browser is of another session from then on."""
    assert page.context.request.post("/console/session", data={"key": world.keys[role]}).ok


def test_what_is_saved_after_another_tab_signed_in_is_saved_at_the_second_try(
    page: Page, world: World
) -> None:
    path = "/v1/offers/tv-pack"
    visit(page, "/console/offers/tv-pack")
    page.get_by_label("Value", exact=True).fill("17")
    sign_in_in_another_tab(page, world, "admin")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Another tab has signed in, as test admin.")).to_be_visible()
    assert newest(world, path)["value"] != 17
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("TV pack is saved and in force")).to_be_visible()
    assert newest(world, path)["value"] == 17


def test_the_desk_goes_on_after_another_tab_signed_in(browser: Browser, world: World) -> None:
    with opened(browser, world, "agent") as page:
        visit(page, "/console/desk")
        ask_for(page, "c96")
        sign_in_in_another_tab(page, world, "agent")
        with page.expect_response(lambda answer: "/v1/feedback" in answer.url and answer.status == 200):
            page.keyboard.press("p")
        expect(page.get_by_role("article").first).to_contain_text("presented")


def test_whoever_signs_out_after_another_tab_signed_in_is_told_and_signs_out_of_that(
    page: Page, world: World
) -> None:
    visit(page, "/console/offers")
    sign_in_in_another_tab(page, world, "admin")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Another tab has signed in, as test admin.")).to_be_visible()
    expect(page.locator(".who")).to_contain_text("test admin")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.request.get("/console/session").json()["signed_in"] is False
