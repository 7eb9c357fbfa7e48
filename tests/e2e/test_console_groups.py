"""Groups and goals that are made, changed and removed in the console, in a real browser."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.console_pages import opened, refused, serious_violations, visit
from tests.support.console_world import World


def save(page: Page, button: str = "Save") -> None:
    page.get_by_role("button", name=button, exact=True).click()


def test_a_group_is_made_and_what_is_wrong_is_told_at_its_field(browser: Browser, world: World) -> None:
    path = "/v1/groups/travel"
    with opened(browser, world, "ops") as page:
        visit(page, "/console/groups")
        page.get_by_role("link", name="New group").click()
        expect(page.get_by_role("heading", name="New group")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("Travel")
        page.get_by_label("Goal", exact=True).select_option("acquire")
        for wrong in ("on the way", "on/the/way", ".."):
            page.get_by_label("Group id", exact=True).fill(wrong)
            refused(page, "Group id", "letters")
        page.get_by_label("Group id", exact=True).fill("stay")
        refused(page, "Group id", "There is already one with this id.")
        save(page, "Create")
        expect(page.get_by_role("alert")).to_contain_text("There is already one with this id.")
        assert world.http.get("/v1/groups/stay").json()["name"] == "Retention"
        page.get_by_label("Group id", exact=True).fill("travel")
        page.get_by_label("Lever (%)").fill("-500")
        save(page, "Create")
        refused(page, "Lever (%)", "-100")
        page.get_by_label("Lever (%)").fill("15")
        page.get_by_label("Consent to").fill("marketing")
        page.get_by_role("button", name="Add a limit").click()
        page.get_by_role("button", name="Add a rule").click()
        page.get_by_label("Name of the rule").fill("grown up")
        page.get_by_label("Condition (CEL)").fill("customer.agee >= 18")
        save(page, "Create")
        refused(page, "Condition (CEL)", "agee")
        assert world.http.get(path).status_code == 404
        page.get_by_label("Condition (CEL)").fill("customer.age >= 18")
        page.get_by_label("Reason", exact=True).fill("summer")
        page.get_by_label("Reason", exact=True).press("Enter")
        expect(page.get_by_role("heading", name="Group: Travel")).to_be_visible()
        visit(page, "/console/groups")
        page.get_by_role("link", name="Travel", exact=True).click()
        expect(page.get_by_label("Condition (CEL)")).to_have_value("customer.age >= 18")
    made = world.http.get(path).json()
    assert (made["name"], made["goal"], made["lever"]) == ("Travel", "acquire", 15)
    assert (made["requires_consent"], made["legal_basis"]) == ("marketing", "consent")
    assert made["contact_limits"] == [{"max": 1, "window_s": 86_400}]
    assert [(rule["name"], rule["when"]) for rule in made["rules"]] == [("grown up", "customer.age >= 18")]
    assert world.http.get("/v1/catalog?kind=group&id=travel").json()[0]["reason"] == "summer"


def test_a_group_is_changed_and_what_somebody_else_changed_is_not_written_over(
    browser: Browser, world: World
) -> None:
    path = "/v1/groups/phones"
    world.http.put(path, json={"name": "Phones", "goal": "grow", "lever": 5}).raise_for_status()
    with opened(browser, world, "ops") as page:
        visit(page, "/console/groups/phones")
        page.get_by_label("Name", exact=True).fill("Telephones")
        with page.expect_request(f"**{path}") as sent:
            save(page)
        assert sent.value.post_data_json == {"name": "Telephones"}, "what is as it was is not sent"
        expect(page.get_by_role("heading", name="Group: Telephones")).to_be_visible()
        page.get_by_label("Lever (%)").fill("20")
        world.http.patch(path, json={"lever": 30}).raise_for_status()
        page.get_by_label("Name", exact=True).fill("Mobiles")
        save(page)
        shown = page.get_by_test_id("meanwhile")
        expect(shown.get_by_role("listitem")).to_have_text(["Lever (%) 5 → 30"])
        expect(shown).to_contain_text("would replace what they wrote: Lever (%)")
        expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
        assert serious_violations(page) == []
        found = world.http.get(path).json()
        assert (found["name"], found["lever"]) == ("Telephones", 30)
        shown.get_by_role("button", name="Go on with my changes").click()
        expect(shown).to_have_count(0)
        expect(page.get_by_label("Lever (%)")).to_have_value("20")
        save(page)
        expect(page.get_by_role("heading", name="Group: Mobiles")).to_be_visible()
        page.get_by_label("Lever (%)").fill("40")
        world.http.patch(path, json={"name": "Handsets"}).raise_for_status()
        save(page)
        shown.get_by_role("button", name="Take theirs, without my changes").click()
        expect(page.get_by_role("heading", name="Group: Handsets")).to_be_visible()
        expect(page.get_by_label("Lever (%)")).to_have_value("20")
    found = world.http.get(path).json()
    assert (found["name"], found["lever"]) == ("Handsets", 20)


def test_a_group_that_is_used_is_not_removed_and_the_page_says_by_what(
    browser: Browser, world: World
) -> None:
    with opened(browser, world, "ops") as page:
        visit(page, "/console/groups/extras")
        page.get_by_role("button", name="Remove …").click()
        form = page.get_by_test_id("family-removal")
        expect(form.get_by_label("Reason")).to_be_focused()
        expect(form).to_contain_text("Offers that belong to it: 2 (Screen insurance, TV pack).")
        assert serious_violations(page) == []
        form.get_by_role("button", name="Remove", exact=True).click()
        expect(form.get_by_role("alert")).to_contain_text("extras")
        form.get_by_role("button", name="Cancel").click()
        expect(form).to_have_count(0)
    assert world.http.get("/v1/groups/extras").is_success


def test_a_group_is_removed_as_it_was_seen(browser: Browser, world: World) -> None:
    path = "/v1/groups/past"
    world.http.put(path, json={"name": "Past", "goal": "serve"}).raise_for_status()
    with opened(browser, world, "ops") as page:
        visit(page, "/console/groups/past")
        page.get_by_role("button", name="Remove …").click()
        form = page.get_by_test_id("family-removal")
        form.get_by_label("Reason").fill("nobody wants it")
        world.http.patch(path, json={"name": "Not over yet"}).raise_for_status()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Group: Not over yet")).to_be_visible()
        expect(form.get_by_role("alert")).to_contain_text("read it again")
        assert world.http.get(path).is_success
        # What is edited here is kept, and what they changed is shown beside it.
        page.get_by_label("Lever (%)").fill("20")
        world.http.patch(path, json={"lever": 30}).raise_for_status()
        form.get_by_role("button", name="Remove", exact=True).click()
        shown = form.get_by_test_id("meanwhile")
        expect(shown.get_by_role("listitem")).to_have_text(["Lever (%) 0 → 30"])
        expect(form.get_by_role("button", name="Remove", exact=True)).to_be_disabled()
        shown.get_by_role("button", name="Go on with my changes").click()
        expect(page.get_by_label("Lever (%)")).to_have_value("20")
        expect(form.get_by_label("Reason")).to_have_value("nobody wants it")
        form.get_by_role("button", name="Remove", exact=True).click()
        expect(page.get_by_text("Not over yet is removed")).to_be_visible()
        expect(page.get_by_role("heading", name="Groups and goals")).to_be_visible()
        expect(page.get_by_role("link", name="Not over yet")).to_have_count(0)
    assert world.http.get(path).status_code == 404
    assert world.http.get("/v1/catalog?kind=group&id=past").json()[0]["reason"] == "nobody wants it"


def test_a_goal_is_declared_and_removed_with_all_that_it_demands(browser: Browser, world: World) -> None:
    path = "/v1/goals/grow"
    with opened(browser, world, "ops") as page:
        visit(page, "/console/groups")
        page.get_by_role("link", name="Add a lever or demands for Grow").click()
        expect(page.get_by_role("heading", name="Goal: Grow")).to_be_visible()
        page.get_by_label("Lever (%)").fill("10")
        page.get_by_role("button", name="Add a limit").click()
        page.get_by_label("Consent to").fill("marketing")
        page.get_by_label("Legal basis").select_option("legitimate_interest")
        save(page, "Create")
        expect(page.get_by_text("Grow is saved and in force")).to_be_visible()
        made = world.http.get(path).json()
        assert (made["lever"], made["requires_consent"]) == (10, "marketing")
        assert made["contact_limits"] == [{"max": 1, "window_s": 86_400}]
        page.get_by_role("link", name="Lever and demands of Grow").click()
        # Offers in use lose what it demands: that is said, and confirmed by the button.
        page.get_by_role("button", name="Remove …").click()
        form = page.get_by_test_id("family-removal")
        expect(form).to_contain_text("all that is demanded here of its offers hold no more")
        form.get_by_role("button", name="Remove", exact=True).click()
        expect(page.get_by_role("link", name="Add a lever or demands for Grow")).to_be_visible()
    assert world.http.get(path).status_code == 404
    assert world.http.get("/v1/groups/upgrade").json()["goal"] == "grow"


def test_a_goal_that_somebody_else_declared_meanwhile_is_shown(browser: Browser, world: World) -> None:
    path = "/v1/goals/acquire"
    with opened(browser, world, "ops") as page:
        visit(page, "/console/goals/acquire")
        page.get_by_label("Lever (%)").fill("10")
        page.get_by_label("Consent to").fill("marketing")
        world.http.put(path, json={"lever": 30}).raise_for_status()
        save(page, "Create")
        shown = page.get_by_test_id("meanwhile")
        expect(shown.get_by_role("listitem")).to_have_text(["Lever (%) 0 → 30"])
        expect(page.get_by_text("There is already one with this id.")).to_have_count(0)
        shown.get_by_role("button", name="Go on with my changes").click()
        with page.expect_request(lambda request: request.method == "PATCH") as sent:
            save(page)
        assert sent.value.post_data_json == {"lever": 10, "requires_consent": "marketing"}
        expect(page.get_by_text("Acquire is saved and in force")).to_be_visible()
    world.http.delete(path).raise_for_status()


def test_groups_are_made_and_removed_by_change_sets(browser: Browser, world: World) -> None:
    world.http.put("/v1/groups/over", json={"name": "Over", "goal": "serve"}).raise_for_status()
    with opened(browser, world, "ops") as page:
        visit(page, "/console/new-group")
        page.get_by_label("Group id", exact=True).fill("stay")
        page.get_by_label("Name", exact=True).fill("At home")
        page.get_by_label("Title of the change set").fill("New groups")
        page.get_by_role("button", name="Add to change set").click()
        refused(page, "Group id", "There is already one with this id.")
        page.get_by_label("Group id", exact=True).fill("home")
        page.get_by_role("button", name="Add to change set").click()
        expect(page.get_by_text("It is in the change set “New groups”")).to_be_visible()
        visit(page, "/console/groups/over")
        page.get_by_role("button", name="Remove …").click()
        form = page.get_by_test_id("family-removal")
        form.get_by_role("button", name="Add to change set").click()
        expect(form).to_have_count(0)
    (draft,) = world.http.get("/v1/changesets").json()["changesets"]
    assert draft["items"] == [
        {"kind": "group", "id": "home", "removal": False},
        {"kind": "group", "id": "over", "removal": True},
    ]
    assert world.http.get("/v1/groups/home").status_code == 404
    world.http.post(f"/v1/changesets/{draft['changeset_id']}/apply", json={}).raise_for_status()
    assert world.http.get("/v1/groups/home").json()["goal"] == "grow"
    assert world.http.get("/v1/groups/over").status_code == 404


def test_who_may_not_change_groups_sees_no_way_to_do_it(browser: Browser, world: World) -> None:
    with opened(browser, world, "scientist") as page:
        visit(page, "/console/groups")
        for link in ("New group", "Add a lever or demands for Serve"):
            expect(page.get_by_role("link", name=link)).to_have_count(0)
        visit(page, "/console/groups/upgrade")
        expect(page.get_by_label("Name", exact=True)).to_be_disabled()
        for button in ("Save", "Create", "Remove …", "Add to change set"):
            expect(page.get_by_role("button", name=button)).to_have_count(0)
        page.goto("/console/new-group")
        expect(page.get_by_role("alert")).to_contain_text("Your role may not see this page.")
        assert page.request.put("/v1/groups/mine", data={"name": "Mine", "goal": "grow"}).status == 403


@pytest.mark.parametrize(("language", "scheme", "width"), [("en", "light", 1280), ("es", "dark", 390)])
def test_everybody_can_make_groups(
    browser: Browser, world: World, language: str, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 900}
    with opened(browser, world, "ops", viewport=size, color_scheme=scheme) as page:
        page.add_init_script(f"localStorage.setItem('nextbest.language', '{language}')")
        for path in ("/console/new-group", "/console/groups/stay", "/console/goals/serve"):
            visit(page, path)
            assert page.locator("html").get_attribute("lang") == language
            assert serious_violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is too wide"
