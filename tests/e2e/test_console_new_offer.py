"""Offers that are made in the console, in a real browser: the draft, its treatments and scripts, and the preview."""

import pytest
from playwright.sync_api import Browser, expect

from tests.support.console_pages import opened, refused, serious_violations, visit
from tests.support.console_world import World


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


def test_what_is_to_be_new_is_never_put_over_what_is_there_by_a_change_set(
    browser: Browser, world: World
) -> None:
    before = len(world.http.get("/v1/changesets").json()["changesets"])
    with opened(browser, world, "ops") as page:
        visit(page, "/console/new-offer")
        page.get_by_label("Name", exact=True).fill("Another insurance")
        page.get_by_label("Offer id", exact=True).fill("insurance")
        page.get_by_label("Change set", exact=True).select_option("")
        page.get_by_label("Title of the change set").fill("Taken")
        page.get_by_role("button", name="Add to change set").click()
        refused(page, "Offer id", "There is already one with this id")
        page.get_by_label("Offer id", exact=True).fill("third-line")
        page.get_by_role("button", name="Add to change set").click()
        expect(page.get_by_text("It is in the change set “Taken”")).to_be_visible()
        visit(page, "/console/new-offer")
        page.get_by_label("Name", exact=True).fill("Third line again")
        page.get_by_label("Offer id", exact=True).fill("third-line")
        page.get_by_role("button", name="Add to change set").click()
        refused(page, "Offer id", "There is already one with this id")
    found = world.http.get("/v1/changesets").json()["changesets"]
    assert len(found) == before + 1
    (mine,) = (one for one in found if one["title"] == "Taken")
    address = f"/v1/changesets/{mine['changeset_id']}"
    (item,) = world.http.get(address).json()["items"]
    assert (item["id"], item["body"]["name"]) == ("third-line", "Another insurance")
    world.http.post(f"{address}/withdraw", json={}).raise_for_status()


def make_offer(world: World, offer_id: str, name: str) -> None:
    """Make a draft of the group `extras`."""
    body = {"name": name, "group": "extras", "value": 30, "status": "draft"}
    world.http.put(f"/v1/offers/{offer_id}", json=body).raise_for_status()


def test_a_treatment_with_its_script_is_added_and_changed(browser: Browser, world: World) -> None:
    make_offer(world, "travel", "Travel pass")
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers/travel")
        page.get_by_role("button", name="Add a treatment").click()
        form = page.get_by_test_id("treatment-form")
        expect(form.get_by_label("Treatment id")).to_be_focused()
        assert form.get_by_label("Channel").locator("option").all_inner_texts() == ["agent", "web"]
        form.get_by_label("Treatment id").fill("on the phone")
        form.get_by_label("Title", exact=True).fill("{{ customer.first_name }}, travel lighter")
        form.get_by_label("Message").fill("Roaming for a month.")
        form.get_by_role("button", name="Add a step").click()
        form.get_by_label("Text of step 1").fill("Ask where they go.")
        form.get_by_role("button", name="Add a step").click()
        form.get_by_label("Text of step 2").fill("Ask why they call.")
        form.get_by_label("Step 2 only when (CEL)").fill("context.raeson == 'question'")
        form.get_by_role("button", name="Add an objection").click()
        form.get_by_label("Objection 1", exact=True).fill("I have Wi-Fi")
        form.get_by_label("Answer to objection 1").fill("Not on the beach.")
        save = form.get_by_role("button", name="Save")
        save.click()
        refused(page, "Treatment id", "letters")
        form.get_by_label("Treatment id").fill("call")
        save.click()
        refused(page, "Step 2 only when (CEL)", "context.raeson")
        assert world.http.get("/v1/offers/travel").json()["treatments"] == []
        form.get_by_label("Step 2 only when (CEL)").fill("context.reason == 'question'")
        save.click()
        refused(page, "Title", "may have no value")
        form.get_by_role("button", name="Add a text for a variable").click()
        form.get_by_label("Variable 1").fill("customer.first_name")
        form.get_by_label("Said in place of 1").fill("Dear customer")
        assert serious_violations(page) == []
        save.click()
        expect(form).to_have_count(0)
        expect(page.get_by_text("Dear customer, travel lighter")).to_be_visible()
        made = world.http.get("/v1/offers/travel/treatments/call").json()
        assert (made["channel"], made["language"], made["message"]) == ("agent", "en", "Roaming for a month.")
        assert made["fallbacks"] == {"customer.first_name": "Dear customer"}
        assert made["script"] == {
            "steps": [
                {"step_id": "step-1", "text": "Ask where they go.", "when": None},
                {
                    "step_id": "step-2",
                    "text": "Ask why they call.",
                    "when": "context.reason == 'question'",
                },
            ],
            "objections": [{"objection": "I have Wi-Fi", "answer": "Not on the beach."}],
        }
        page.get_by_role("button", name="Edit treatment call").click()
        form.get_by_label("Title", exact=True).fill("Travel lighter")
        form.get_by_role("button", name="Remove variable 1").click()
        form.get_by_role("button", name="Remove step 1").click()
        form.get_by_label("Text of the button").fill("Book it")
        form.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Treatment call is saved")).to_be_visible()
        expect(form).to_have_count(0)
        changed = world.http.get("/v1/offers/travel/treatments/call").json()
        assert [step["step_id"] for step in changed["script"]["steps"]] == ["step-2"]
        assert changed == made | {
            "title": "Travel lighter",
            "fallbacks": {},
            "button": "Book it",
            "script": made["script"] | {"steps": made["script"]["steps"][1:]},
        }
        page.get_by_label("Change the status of Travel pass").select_option("live")
        page.get_by_role("dialog").get_by_label("Reason").fill("ready")
        page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
        expect(page.get_by_text("Travel pass is now: live")).to_be_visible()


def test_a_treatment_that_somebody_else_changed_is_not_written_over(browser: Browser, world: World) -> None:
    path = "/v1/offers/insurance/treatments/call"
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers/insurance")
        with page.expect_response(f"**{path}"):
            page.get_by_role("button", name="Edit treatment call").click()
        form = page.get_by_test_id("treatment-form")
        form.get_by_label("Message").fill("Mine")
        expect(form.get_by_role("button", name="Save")).to_be_enabled()
        world.http.patch(path, json={"message": "Theirs"}).raise_for_status()
        form.get_by_role("button", name="Save").click()
        expect(form.get_by_role("alert")).to_contain_text("Somebody else has saved this meanwhile")
    assert world.http.get(path).json()["message"] == "Theirs"
    with opened(browser, world, "scientist") as page:
        visit(page, "/console/offers/insurance")
        expect(page.get_by_text("Theirs")).to_be_visible()
        expect(page.get_by_role("button", name="Add a treatment")).to_have_count(0)
        expect(page.get_by_role("button", name="Edit treatment call")).to_have_count(0)


def test_a_new_treatment_goes_into_a_change_set(browser: Browser, world: World) -> None:
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers/tv-pack")
        page.get_by_role("button", name="Add a treatment").click()
        form = page.get_by_test_id("treatment-form")
        form.get_by_label("Treatment id").fill("pagina")
        form.get_by_label("Channel").select_option("web")
        form.get_by_label("Language").fill("es")
        form.get_by_label("Title", exact=True).fill("Más televisión")
        form.get_by_label("Change set", exact=True).select_option("")
        form.get_by_label("Title of the change set").fill("In Spanish")
        form.get_by_role("button", name="Add to change set").click()
        expect(page.get_by_text("It is in the change set “In Spanish”")).to_be_visible()
    (found,) = (
        one for one in world.http.get("/v1/changesets").json()["changesets"] if one["title"] == "In Spanish"
    )
    assert found["items"] == [{"kind": "treatment", "id": "tv-pack/pagina", "removal": False}]
    world.http.post(f"/v1/changesets/{found['changeset_id']}/apply", json={}).raise_for_status()
    made = world.http.get("/v1/offers/tv-pack/treatments/pagina").json()
    assert (made["channel"], made["language"], made["title"]) == ("web", "es", "Más televisión")


def test_a_new_treatments_id_is_refused_at_its_field_as_it_is_typed_and_by_a_change_set(
    browser: Browser, world: World
) -> None:
    said = world.http.get("/v1/offers/roaming pass").json()["errors"][0]["reason"]
    before = world.http.get("/v1/offers/insurance").json()["treatments"]
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers/insurance")
        page.get_by_role("button", name="Add a treatment").click()
        form = page.get_by_test_id("treatment-form")
        form.get_by_label("Title", exact=True).fill("Insured")
        form.get_by_label("Change set", exact=True).select_option("")
        form.get_by_label("Title of the change set").fill("Wrong ids")
        for wrong in (".", "..", "a/b", "%2e"):
            for how in ("", "Save", "Add to change set"):
                form.get_by_label("Treatment id").fill("good")
                expect(form.get_by_label("Treatment id")).not_to_have_attribute("aria-invalid", "true")
                form.get_by_label("Treatment id").fill(wrong)
                if how:
                    form.get_by_role("button", name=how).click()
                    expect(form.get_by_role("alert")).to_be_visible()
                refused(page, "Treatment id", said[:20])
        form.get_by_label("Treatment id").fill("call")
        refused(page, "Treatment id", "There is already one with this id.")
        visit(page, "/console/new-offer")
        page.get_by_label("Name", exact=True).fill("Nowhere")
        page.get_by_label("Offer id", exact=True).fill("..")
        # The newest draft is chosen already.
        page.get_by_role("button", name="Add to change set").click()
        refused(page, "Offer id", said[:20])
    assert world.http.get("/v1/offers/insurance").json()["treatments"] == before
    (mine,) = (c for c in world.http.get("/v1/changesets").json()["changesets"] if c["title"] == "Wrong ids")
    assert mine["items"] == []
    world.http.post(f"/v1/changesets/{mine['changeset_id']}/withdraw", json={}).raise_for_status()


def test_attributes_of_a_treatment_are_edited(browser: Browser, world: World) -> None:
    path = "/v1/offers/insurance/treatments/page"
    kept = {"colour": "gold", "places": 3, "rate": 1.5, "new": True}
    world.http.patch(path, json={"attributes": kept}).raise_for_status()
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers/insurance")
        page.get_by_role("button", name="Edit treatment page").click()
        form = page.get_by_test_id("treatment-form")
        save = form.get_by_role("button", name="Save")
        # Postgres keeps names in the order of their lengths.
        for n, name in enumerate(("new", "rate", "colour", "places"), 1):
            expect(form.get_by_label(f"Attribute {n}", exact=True)).to_have_value(name)
        expect(form.get_by_label("Kind of 1")).to_have_value("boolean")
        assert serious_violations(page) == []
        form.get_by_label("Value of 4").fill("4")
        form.get_by_label("Value of 1").select_option("false")
        form.get_by_role("button", name="Remove attribute 2").click()
        form.get_by_role("button", name="Add an attribute").click()
        form.get_by_label("Value of 4").fill("12")
        refused(page, "Attribute 4", "It needs a name.")
        expect(save).to_be_disabled()
        form.get_by_label("Attribute 4").fill("colour")
        refused(page, "Attribute 4", "There is already one of this name.")
        form.get_by_label("Attribute 4").fill("how many")
        form.get_by_label("Kind of 4").select_option("number")
        form.get_by_label("Value of 4").fill("a dozen")
        refused(page, "Value of 4", "Write a number.")
        expect(save).to_be_disabled()
        form.get_by_label("Value of 4").fill("12")
        with page.expect_request(f"**{path}") as sent:
            save.click()
        refused(page, "Attribute 4", "letters")
        asked = {"attributes": {"places": 4, "new": False, "how many": 12, "rate": None}}
        assert sent.value.post_data_json == asked, "what is as it was is not sent"
        form.get_by_label("Attribute 4").fill("pieces")
        save.click()
        expect(form).to_have_count(0)
    changed = world.http.get(path).json()["attributes"]
    assert changed == {"colour": "gold", "places": 4, "new": False, "pieces": 12}
    assert isinstance(changed["pieces"], int)


def test_a_treatment_is_removed_at_once_or_by_a_change_set(browser: Browser, world: World) -> None:
    make_offer(world, "second-home", "Second home")
    path = "/v1/offers/second-home/treatments"
    for name in ("call", "page", "old"):
        body = {"channel": "web", "title": f"Treatment {name}"}
        world.http.put(f"{path}/{name}", json=body).raise_for_status()
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers/second-home")
        form = page.get_by_test_id("treatment-removal")
        remove = form.get_by_role("button", name="Remove")
        page.get_by_role("button", name="Remove treatment old").click()
        expect(form.get_by_label("Reason")).to_be_focused()
        expect(form).to_contain_text("In the channel web")
        assert serious_violations(page) == []
        form.get_by_role("button", name="Cancel").click()
        expect(form).to_have_count(0)
        page.get_by_role("button", name="Remove treatment old").click()
        expect(remove).to_be_enabled()
        world.http.patch(f"{path}/old", json={"title": "Changed meanwhile"}).raise_for_status()
        remove.click()
        expect(form.get_by_role("alert")).to_contain_text("read it again")
        form.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Remove treatment old").click()
        expect(page.get_by_text("Changed meanwhile")).to_be_visible()
        expect(remove).to_be_enabled()  # the form has read it too: before that, Enter does nothing
        form.get_by_label("Reason").fill("out of date")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Treatment old is removed")).to_be_visible()
        expect(page.get_by_role("button", name="Remove treatment old")).to_have_count(0)
        assert [one["treatment_id"] for one in world.http.get(path).json()] == ["call", "page"]
        (last,) = world.http.get("/v1/catalog?kind=treatment&id=second-home/old&limit=1").json()
        assert last["reason"] == "out of date"
        page.get_by_role("button", name="Remove treatment page").click()
        form.get_by_label("Change set", exact=True).select_option("")
        form.get_by_label("Title of the change set").fill("No page")
        form.get_by_role("button", name="Add to change set").click()
        expect(page.get_by_text("It is in the change set “No page”")).to_be_visible()
        expect(form).to_have_count(0)
    (found,) = (c for c in world.http.get("/v1/changesets").json()["changesets"] if c["title"] == "No page")
    assert found["items"] == [{"kind": "treatment", "id": "second-home/page", "removal": True}]
    assert world.http.get(f"{path}/page").is_success
    world.http.post(f"/v1/changesets/{found['changeset_id']}/apply", json={}).raise_for_status()
    assert [one["treatment_id"] for one in world.http.get(path).json()] == ["call"]
    with opened(browser, world, "scientist") as page:
        visit(page, "/console/offers/second-home")
        expect(page.get_by_text("Treatment call")).to_be_visible()
        expect(page.get_by_role("button", name="Remove treatment call")).to_have_count(0)


def test_the_service_tells_what_an_agent_would_get_before_and_after_saving(
    browser: Browser, world: World
) -> None:
    treatment = {
        "channel": "agent",
        "title": "{{ customer.first_name | upper }}, one more screen",
        "fallbacks": {"customer.first_name": "you"},
        "script": {
            "steps": [
                {"step_id": "open", "text": "Say hello to {{ customer.first_name }}."},
                {"step_id": "keep", "text": "Ask them to stay.", "when": "context.reason == 'cancel'"},
            ],
            "objections": [],
        },
    }
    make_offer(world, "screen", "One more screen")
    world.http.put("/v1/offers/screen/treatments/call", json=treatment).raise_for_status()
    with opened(browser, world, "ops") as page:
        visit(page, "/console/offers/screen")
        card = page.get_by_test_id("service-preview")
        card.get_by_label("Customer id").fill("c5")
        card.get_by_label("Placement").select_option("call-centre")
        card.get_by_role("button", name="Try it out").click()
        expect(card.get_by_text("One more screen is not in the answer.")).to_be_visible()
        expect(card.get_by_text("draft")).to_be_visible()
        body = {"status": "live", "lever": 900}
        world.http.patch("/v1/offers/screen", json=body).raise_for_status()
        page.reload()
        expect(card.get_by_role("button", name="Simulate the changes")).to_have_count(0)
        card.get_by_label("Customer id").fill("c5")
        card.get_by_label("Placement").select_option("call-centre")
        card.get_by_label("context.reason").select_option("cancel")
        card.get_by_role("button", name="Try it out").click()
        expect(card.get_by_text("One more screen is in the answer.")).to_be_visible()
        answered = card.locator('[data-offer="screen"]')
        expect(answered).to_contain_text("KIM, one more screen")
        expect(answered.get_by_role("listitem")).to_have_text(["Say hello to Kim.", "Ask them to stay."])
        assert serious_violations(page) == []
        card.get_by_label("context.reason").select_option("")
        card.get_by_role("button", name="Try it out").click()
        expect(answered.get_by_role("listitem")).to_have_text(["Say hello to Kim."])
        decided = world.http.get("/v1/customers/c5/decisions").json()["decisions"]
        assert "call-centre" not in [decision["placement"] for decision in decided], "nothing is logged"

        page.get_by_label("Lever (%)").fill("-100")
        card.get_by_role("button", name="Simulate the changes").click()
        expect(card.get_by_text("Customers without any offer")).to_be_visible()
        table = card.get_by_role("region", name="Simulation")
        expect(table.get_by_role("row").filter(has_text="screen")).to_be_visible()
        assert serious_violations(page) == []
        assert world.http.get("/v1/offers/screen").json()["lever"] == 900, "nothing is saved"
    with opened(browser, world, "scientist") as page:
        visit(page, "/console/offers/screen")
        expect(page.get_by_test_id("service-preview")).to_have_count(0)


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
        visit(page, "/console/offers/fibre-600")
        page.locator('button[aria-label$=" call"]').first.click()
        form = page.get_by_test_id("treatment-form")
        expect(form.locator("textarea").first).to_have_value("Good news about Fibre 600.")
        assert serious_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the form is too wide"
