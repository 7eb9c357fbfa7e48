"""Charts of the console in a browser: tests of canaries and selections over time, runs compared, alerts of reports."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.support.console_pages import opened, serious_violations, visit
from tests.support.console_world import World, serve_world
from tests.support.waiting import wait_until

LOOKS = [("en", "light", 1280), ("es", "dark", 390)]
KEPT = "nextbest.evaluations"


@pytest.fixture(scope="module")
def world(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The telephone company, with a canary that is tried out in a placement of its own."""
    with serve_world(postgres_url, redis_url, tmp_path_factory.mktemp("charts"), visitors=12) as found:
        try_out(found)
        yield found


def try_out(world: World) -> None:
    """Make `thompson` the canary for half of the customers of a placement, and let customers answer there."""
    http = world.http
    trial = {"channel": "agent", "slots": 1, "control_share": 0, "deadline_ms": 5000}
    http.put("/v1/placements/trial", json=trial).raise_for_status()
    canary = {"policy": "thompson", "version": 1, "stage": "canary", "share": 0.5, "force": True}
    http.post("/v1/placements/trial/policies", json=canary | {"reason": "to compare"}).raise_for_status()
    for n in range(40):
        asked = {"customer_id": f"c{100 + n}", "placement": "trial"}
        answer = http.post("/v1/decisions", json=asked).json()
        told = {"decision_id": answer["decision_id"], "offer_id": answer["offers"][0]["offer_id"]}
        outcome = "accepted" if n % 3 == 0 else "rejected"
        http.post("/v1/feedback", json=told | {"outcome": outcome}).raise_for_status()

    def observed() -> int:
        stages = http.get("/v1/reports/canaries", params={"placement": "trial"}).json()["stages"]
        return sum(stages[0][side]["observations"] for side in ("canary", "champion")) if stages else 0

    wait_until(lambda: observed() == 40, "the guard to count the customers")


def looks_well(page: Page) -> None:
    """Nothing keeps somebody from using a page, and it is as wide as the screen."""
    assert serious_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is too wide"


def signed_in(browser: Browser, world: World, look: tuple[str, str, int], role: Any = "admin") -> Any:
    """A page in a language and theme, of a width."""
    language, scheme, width = look
    size = {"width": width, "height": 900}
    context = opened(browser, world, role, viewport=size, color_scheme=scheme)
    return context, f"localStorage.setItem('nextbest.language', '{language}')"


@pytest.mark.parametrize("look", LOOKS)
def test_the_test_of_a_canary_is_drawn_over_time(
    browser: Browser, world: World, look: tuple[str, str, int]
) -> None:
    context, language = signed_in(browser, world, look)
    stage = world.http.get("/v1/reports/canaries", params={"placement": "trial"}).json()["stages"][0]
    course = world.http.get(f"/v1/reports/canaries/{stage['test_id']}/course").json()
    assert course["missing"] == 0
    with context as page:
        page.add_init_script(language)
        visit(page, "/console/placements/trial")
        card = page.get_by_test_id("course")
        expect(card.locator("canvas")).to_have_count(2)
        names = {
            "en": (
                "Canary less champion over time",
                "Evidence over time",
                "As a table",
                "which people do here",
            ),
            "es": (
                "Canario menos campeón en el tiempo",
                "Evidencia en el tiempo",
                "Como tabla",
                "las personas",
            ),
        }
        difference, evidence, table, people = names[look[0]]
        expect(card.get_by_role("img", name=difference)).to_be_visible()
        expect(card.get_by_role("img", name=evidence)).to_be_visible()
        expect(card.get_by_text(people)).to_be_visible()
        card.get_by_text(table).focus()
        page.keyboard.press("Enter")
        rows = card.get_by_role("region").locator("tbody tr")
        expect(rows).to_have_count(len(course["points"]))
        last = course["points"][-1]
        expect(rows.last).to_contain_text(f"{last['canary_acceptances']} / {last['canary_observations']}")
        looks_well(page)


@pytest.mark.parametrize("look", LOOKS)
def test_the_selections_of_a_policy_are_shown_over_time(
    browser: Browser, world: World, look: tuple[str, str, int]
) -> None:
    context, language = signed_in(browser, world, look)
    report = world.http.get("/v1/policies/calibrated/selections", params={"version": 1}).json()
    assert report["top"]
    with context as page:
        page.add_init_script(language)
        visit(page, "/console/policies/calibrated/1")
        card = page.get_by_test_id("selections")
        expect(card.locator("canvas")).to_have_count(1)
        first = report["top"][0]
        rows = card.get_by_role("region").locator("tbody tr")
        expect(rows.first).to_contain_text(first["name"])
        expect(rows).to_have_count(len(report["top"]))
        expect(card.get_by_role("img").first).to_have_attribute("aria-label", matching(first["name"]))
        card.get_by_text({"en": "As a table", "es": "Como tabla"}[look[0]]).click()
        expect(card.locator("details").get_by_role("region").locator("tbody tr")).to_have_count(
            len(report["times"])
        )
        looks_well(page)
        card.locator("select").select_option("hour")
        expect(card.locator("canvas")).to_have_count(1)
        card.locator("input[type=date]").first.fill("2100-01-01")
        expect(card.locator(".empty")).to_be_visible()
        looks_well(page)


def matching(text: str) -> re.Pattern[str]:
    """A pattern that finds a text as it is."""
    return re.compile(re.escape(text))


def evaluation(name: str, value: float, half: float | None, **result: Any) -> dict[str, Any]:
    """A finished evaluation; without a half of the interval, its estimators refuse to give one."""
    one: dict[str, Any] = {"value": value, "low": None, "high": None, "reason": "Too few rows."}
    if half is not None:
        one = {"value": value, "low": value - half, "high": value + half, "reason": None}
    estimates = dict.fromkeys(("earned", "ips", "snips", "dr", "lift"), one)
    figures = {"rows": 5000, "effective_rows": 900.0, "mean_weight": 1.0, "largest_weight": 9.0}
    found = {
        "policy": name,
        "version": 1,
        "placement": "web-home",
        "from": "2026-03-01T00:00:00Z",
        "to": "2026-03-08T00:00:00Z",
        "start": "cold",
        "slots": "first",
        "reward": "acceptance",
        "decisions": 5040,
        "open": 0,
        "warnings": [f"Few rows carry {name}."],
        "estimates": estimates | figures | {"agreement": 0.5, "same_choice": 0.5},
    }
    return {
        "evaluation_id": f"ev-{name}",
        "policy": f"{name}@1",
        "placement": "web-home",
        "state": "done",
        "asked_at": "2026-03-08T09:00:00Z",
        "asked_by": "ann",
        "seen": 5040,
        "total": 5040,
        "result": found | result,
        "error": None,
    }


RUNS = {
    run["evaluation_id"]: run
    for run in (
        evaluation("better", 0.2, 0.02),
        evaluation("base", 0.1, 0.02),
        evaluation("alike", 0.11, 0.03, to="2026-03-09T00:00:00Z"),
        evaluation("unsure", 0.3, None),
        evaluation("elsewhere", 0.9, 0.01, placement="call-centre"),
    )
}


def answer_runs(page: Page) -> None:
    """Let the page find finished evaluations, as the service would tell of them."""

    def answer(route: Route) -> None:
        found = RUNS.get(route.request.url.rpartition("/")[2])
        if found is None:
            route.fallback()
        else:
            route.fulfill(json=found)

    page.route("**/v1/evaluations/*", answer)


@pytest.mark.parametrize("look", LOOKS)
def test_runs_are_compared_and_differences_stated_where_intervals_allow(
    browser: Browser, world: World, look: tuple[str, str, int]
) -> None:
    context, language = signed_in(browser, world, look, "scientist")
    with context as page:
        page.add_init_script(language)
        page.add_init_script(
            f"localStorage.getItem('{KEPT}') ?? localStorage.setItem('{KEPT}', '{json.dumps([*RUNS][:4])}')"
        )
        answer_runs(page)
        visit(page, "/console/evaluation")
        card = page.get_by_test_id("compare")
        expect(card.get_by_role("checkbox")).to_have_count(4)
        page.locator("form", has=page.get_by_text("ev-…")).get_by_role("textbox").fill("ev-elsewhere")
        page.keyboard.press("Enter")
        expect(card.get_by_role("checkbox")).to_have_count(5)
        for name in ("better", "base"):
            card.get_by_role("checkbox", name=f"ev-{name}").focus()
            page.keyboard.press("Space")
        card.get_by_role("combobox").select_option("ev-base")
        words = {
            "en": ("earns more, by 6% to 14%", "no difference can be stated", "one of them has no interval"),
            "es": ("gana más, de 6 % a 14 %", "no se puede afirmar", "una de ellas no tiene intervalo"),
        }
        more, unclear, refused = words[look[0]]
        expect(card.get_by_text(more)).to_have_count(3)
        expect(card.get_by_text("Few rows carry better.")).to_be_visible()
        card.get_by_role("checkbox", name="ev-better").uncheck()
        card.get_by_role("checkbox", name="ev-alike").check()
        expect(card.get_by_text(unclear)).to_have_count(3)
        not_same = {"en": "not of the same decisions", "es": "No son de las mismas decisiones"}
        expect(card.get_by_text(not_same[look[0]])).to_be_visible()
        card.get_by_role("checkbox", name="ev-alike").uncheck()
        card.get_by_role("checkbox", name="ev-unsure").check()
        expect(card.get_by_text(refused)).to_have_count(3)
        expect(card.get_by_text("Too few rows.").first).to_be_visible()
        card.get_by_role("checkbox", name="ev-elsewhere").check()
        places = {"en": "They are of different placements", "es": "Son de ubicaciones distintas"}
        expect(card.get_by_text(places[look[0]])).to_be_visible()
        looks_well(page)


def answer_list(page: Page) -> None:
    """Let the page find the runs as a list of two pages, as the service would tell of them."""
    brief = [{n: v for n, v in run.items() if n != "result"} | {"algorithm": None} for run in RUNS.values()]
    brief[1] |= {"policy": None, "algorithm": "thompson", "state": "running", "seen": 20}
    brief[2] |= {"state": "failed", "error": "nothing was decided there"}

    def answer(route: Route) -> None:
        later = "before=ev-alike" in route.request.url
        found = {"evaluations": brief[3:], "next": None} if later else {"evaluations": brief[:3]}
        route.fulfill(json={"next": "ev-alike"} | found)

    page.route("**/v1/evaluations?*", answer)


@pytest.mark.parametrize("look", LOOKS)
def test_everybodys_runs_are_listed_and_one_is_opened_by_its_link(
    browser: Browser, world: World, look: tuple[str, str, int]
) -> None:
    words = {
        "en": ("a specification (thompson)", "running", "Older", "Newer", "Show below: ev-better"),
        "es": (
            "una especificación (thompson)",
            "en marcha",
            "Más antiguos",
            "Más nuevos",
            "Mostrar abajo: ev-better",
        ),
    }
    of_specification, running, older, newer, below = words[look[0]]
    context, language = signed_in(browser, world, look, "scientist")
    with context as page:
        page.add_init_script(language)
        answer_runs(page)
        answer_list(page)
        visit(page, "/console/evaluation")
        card = page.get_by_test_id("latest-runs")
        rows = card.locator("tbody tr")
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text("better@1")
        expect(rows.nth(0)).to_contain_text("ann")
        for told in (of_specification, running, "5,040" if look[0] == "en" else "5040"):
            expect(rows.nth(1)).to_contain_text(told)
        expect(rows.nth(2)).to_contain_text("nothing was decided there")
        looks_well(page)
        card.get_by_role("button", name=older).evaluate(
            "button => { button.click(); setTimeout(() => button.click()); }"
        )
        expect(rows).to_have_count(2)
        expect(card.get_by_role("button", name=older)).to_have_count(0)
        # It was pressed twice, and is one page away.
        card.get_by_role("button", name=newer).click()
        expect(card.get_by_role("button", name=newer)).to_have_count(0)
        expect(rows).to_have_count(3)
        card.get_by_role("button", name=below).click()
        expect(page.get_by_role("heading", name="ev-better")).to_be_visible()
        expect(card.get_by_role("button", name=below)).to_have_count(0)
        card.get_by_role("link", name="ev-base").click()
        page.wait_for_url("/console/evaluation/ev-base")
        expect(page.get_by_text("Few rows carry base.")).to_be_visible()
        expect(page.get_by_test_id("latest-runs")).to_have_count(0)
        looks_well(page)


def test_a_run_that_somebody_else_asked_for_is_in_the_list(browser: Browser, world: World) -> None:
    body = {"policy": "random@1", "placement": "web-home", "limit": 10}
    asked = world.http.post("/v1/evaluations", json=body).json()
    with opened(browser, world, "scientist") as page:
        visit(page, "/console/evaluation")
        row = page.get_by_test_id("latest-runs").locator("tbody tr").filter(has_text=asked["evaluation_id"])
        for told in ("random@1", "web-home", "test admin"):
            expect(row).to_contain_text(told)
    with opened(browser, world, "ops") as page:
        page.goto("/console/evaluation")
        expect(page.get_by_role("alert")).to_contain_text("Your role may not see this page.")
        assert page.request.get("/v1/evaluations").status == 403


@pytest.mark.parametrize("look", LOOKS)
def test_an_alert_is_made_of_a_report(browser: Browser, world: World, look: tuple[str, str, int]) -> None:
    language_of, _, width = look
    names = {
        "en": (
            "Alert when …",
            "Create",
            "Placement",
            "Offer id",
            "It looks at the offer tv-pack in the placement",
        ),
        "es": (
            "Avisar cuando …",
            "Crear",
            "Ubicación",
            "Id. de oferta",
            "Mira la oferta tv-pack en la ubicación",
        ),
    }
    button, create, placement, offer, where = names[language_of]
    context, language = signed_in(browser, world, look, "ops")
    alert_id = f"tv-{width}"
    with context as page:
        page.add_init_script(language)
        visit(page, "/console/reports")
        page.get_by_label(placement, exact=True).select_option("web-home")
        page.get_by_label(offer, exact=True).fill("tv-pack")
        page.get_by_role("button", name=button).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_test_id("will-do")).to_contain_text(where)
        expect(dialog.get_by_test_id("will-do")).to_contain_text("28")
        looks_well(page)
        identity = dialog.locator("input[pattern]")
        expect(identity).to_have_value("acceptance-drop-web-home-tv-pack")
        identity.fill(alert_id)
        dialog.locator("input[max='100']").fill("15")
        expect(dialog.get_by_test_id("will-do")).to_contain_text("15")
        dialog.get_by_role("button", name=create, exact=True).click()
        expect(dialog).to_have_count(0)
        made = world.http.get(f"/v1/alert-rules/{alert_id}").json()
        asked = {"watches": "acceptance_drop", "placement": "web-home", "offer": "tv-pack", "threshold": 0.15}
        assert {name: made[name] for name in asked} == asked
        assert made["window_s"] == 28 * 86_400

        page.get_by_role("button", name=button).click()
        identity.fill(alert_id)
        dialog.get_by_role("button", name=create, exact=True).click()
        expect(dialog.get_by_role("alert")).to_be_visible()
        looks_well(page)
        title, add = {
            "en": ("Title of the change set", "Add to change set"),
            "es": ("Título del conjunto de cambios", "Añadir al conjunto de cambios"),
        }[language_of]
        identity.fill(f"{alert_id}-later")
        dialog.get_by_role("combobox").last.select_option("")  # not into a draft that there is
        dialog.get_by_label(title).fill(f"Watch {alert_id}")
        dialog.get_by_role("button", name=add).click()
        expect(dialog).to_have_count(0)
        drafts = world.http.get("/v1/changesets", params={"state": "draft"}).json()["changesets"]
        draft = next(draft for draft in drafts if draft["title"] == f"Watch {alert_id}")
        (item,) = world.http.get(f"/v1/changesets/{draft['changeset_id']}").json()["items"]
        assert (item["kind"], item["id"]) == ("alert", f"{alert_id}-later")

        page.get_by_role("button", name=button).click()
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    assert world.http.get(f"/v1/alert-rules/{alert_id}").json() == made


def test_who_may_not_declare_alerts_is_not_offered_one(browser: Browser, world: World) -> None:
    with opened(browser, world, "scientist") as page:
        visit(page, "/console/reports")
        expect(page.get_by_role("link", name="Download CSV")).to_be_visible()
        expect(page.get_by_role("button", name="Alert when")).to_have_count(0)
