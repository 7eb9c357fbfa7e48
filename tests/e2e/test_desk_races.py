"""The desk in a real browser while several things happen at once: nothing is lost, told twice, or of somebody else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page, Request, Route, expect

from tests.support.console_pages import ask_for, opened, serious_violations, visit
from tests.support.console_world import World, serve_world
from tests.support.waiting import wait_until

FEEDBACK, DECISIONS, NOTES = "**/v1/feedback", "**/v1/decisions", "**/notes"
PATIENCE_S = 10
"""After so long without an answer the desk takes an outcome for one that waits."""


@pytest.fixture(scope="module")
def world(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The telephone company, where the same offer comes first for everybody."""
    with serve_world(postgres_url, redis_url, tmp_path_factory.mktemp("races")) as found:
        first = {"reason": "the same for everybody", "offer": "fibre-600"}
        found.http.put("/v1/overrides/first", json=first).raise_for_status()
        yield found


@pytest.fixture
def page(browser: Browser, world: World) -> Iterator[Page]:
    """The desk of an agent."""
    with opened(browser, world, "agent") as found:
        visit(found, "/console/desk")
        yield found


class Held:
    """Requests to an address that are held until they are let go; ``sent`` are the bodies of all of them."""

    def __init__(self, page: Page, address: str, method: str = "POST") -> None:
        self._page, self._address, self._method = page, address, method
        self._routes: list[Route] = []
        self.sent: list[dict[str, Any]] = []
        page.route(address, self._hold)

    def _hold(self, route: Route) -> None:
        if route.request.method != self._method:
            route.continue_()
            return
        self.sent.append(json.loads(route.request.post_data or "{}"))
        self._routes.append(route)

    def wait(self, count: int = 1) -> None:
        """Wait until so many requests have been sent in all."""

        def came() -> bool:
            self._page.wait_for_timeout(20)  # lets the browser's events in
            return len(self.sent) >= count

        wait_until(came, f"{count} requests to {self._address}", explain=self._look)

    def _look(self) -> str:
        """Return where the focus is, and what the page says."""
        focused = self._page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        return f"focus: {focused}\n{self._page.locator('body').inner_text()}"

    def let_go(self) -> None:
        """Let through what is held; what comes later is held again."""
        while self._routes:
            self._routes.pop(0).continue_()

    def lose_answers(self) -> None:
        """Let the service do what is asked, and lose its answers on their way."""
        while self._routes:
            route = self._routes.pop(0)
            assert route.fetch().ok
            route.abort()

    def answer(self, status: int, detail: str = "away") -> None:
        """Answer what is held in place of the service."""
        while self._routes:
            self._routes.pop(0).fulfill(status=status, json={"detail": detail})

    def end(self) -> None:
        """Hold nothing any more: what comes until then is let through with the rest."""
        self.let_go()
        self._page.unroute(self._address, self._hold)


def told(world: World, customer: str) -> list[list[str]]:
    """What came of the first offer of each decision of a customer at the desk, the newest decision first."""
    decisions = world.http.get(f"/v1/customers/{customer}/decisions").json()["decisions"]
    mine = [d for d in decisions if d["decision_id"].startswith("desk-")]
    return [[o["outcome"] for o in d["offers"][0]["outcomes"]] for d in mine]


def wait_told(world: World, customer: str, *expected: list[str]) -> None:
    """Wait until decisions and outcomes of a customer are archived, and these are all."""
    found: list[list[str]] = []

    def is_told() -> bool:
        found[:] = told(world, customer)
        return found == list(expected)

    wait_until(is_told, f"outcomes of {customer}: {expected}", explain=lambda: found)


def first_offer(page: Page) -> Any:
    """The card of the first offer."""
    return page.get_by_role("article").first


def test_a_key_that_is_pressed_twice_tells_once(page: Page, world: World) -> None:
    ask_for(page, "c10")
    feedback = Held(page, FEEDBACK)
    for _ in range(2):
        page.keyboard.press("a")
    feedback.wait()
    page.keyboard.press("a")
    feedback.let_go()
    expect(first_offer(page)).to_contain_text("accepted")
    page.keyboard.press("a")
    page.keyboard.press("p")  # another outcome of the same offer is told, behind the first one
    feedback.wait(2)
    feedback.end()
    expect(first_offer(page)).to_contain_text("presented")
    assert [body["outcome"] for body in feedback.sent] == ["accepted", "presented"]
    wait_told(world, "c10", ["accepted", "presented"])


def test_outcomes_arrive_in_the_order_in_which_they_were_told(page: Page, world: World) -> None:
    ask_for(page, "c11")
    feedback = Held(page, FEEDBACK)
    page.keyboard.press("p")
    page.keyboard.press("a")
    feedback.wait()
    page.wait_for_timeout(200)
    assert [body["outcome"] for body in feedback.sent] == ["presented"], "the second waits for the first"
    feedback.let_go()
    feedback.wait(2)
    feedback.end()
    expect(first_offer(page)).to_contain_text("accepted")
    wait_told(world, "c11", ["presented", "accepted"])


def test_a_no_that_is_pressed_twice_asks_once_for_the_next_offers(page: Page, world: World) -> None:
    ask_for(page, "c12")
    feedback, decisions = Held(page, FEEDBACK), Held(page, DECISIONS)
    page.keyboard.press("r")
    expect(page.get_by_role("group", name="Why not?")).to_be_visible()
    for _ in range(2):
        page.keyboard.press("1")
    feedback.wait()
    feedback.let_go()
    decisions.wait()
    page.keyboard.press("1")
    decisions.end()
    expect(page.get_by_test_id("difference")).to_be_visible()
    assert (len(feedback.sent), len(decisions.sent)) == (1, 1)
    wait_told(world, "c12", [], ["rejected"])


def test_enter_that_is_pressed_twice_makes_one_decision(page: Page, world: World) -> None:
    decisions = Held(page, DECISIONS)
    page.get_by_label("Customer id").fill("c13")
    for _ in range(2):
        page.keyboard.press("Enter")
    decisions.wait()
    page.keyboard.press("Enter")
    decisions.end()
    expect(page.locator("#offers-title")).to_be_focused()
    assert len(decisions.sent) == 1
    wait_told(world, "c13", [])


def test_keys_tell_nothing_while_other_offers_are_on_their_way(page: Page, world: World) -> None:
    ask_for(page, "c14")
    feedback, decisions = Held(page, FEEDBACK), Held(page, DECISIONS)
    page.get_by_label("Customer id").fill("c15")
    page.get_by_role("button", name="Show offers").click()
    decisions.wait()
    page.keyboard.press("a")  # of whom? The offers are still those for c14
    expect(page.get_by_text("this key told nothing")).to_be_visible()
    decisions.end()
    expect(page.locator("#offers-title")).to_contain_text("c15")
    expect(page.locator("#offers-title")).to_be_focused()
    assert feedback.sent == []
    page.keyboard.press("a")
    feedback.wait()
    feedback.end()
    wait_told(world, "c15", ["accepted"])
    wait_told(world, "c14", [])


def test_whoever_writes_when_the_next_offers_come_goes_on_writing(page: Page, world: World) -> None:
    ask_for(page, "c31")
    feedback, decisions = Held(page, FEEDBACK), Held(page, DECISIONS)
    page.keyboard.press("r")
    expect(page.get_by_role("group", name="Why not?")).to_be_visible()
    page.keyboard.press("1")
    feedback.wait()
    feedback.let_go()
    decisions.wait()
    said = page.get_by_label("What the customer says")
    said.press_sequentially("I pay too much ")
    decisions.end()
    expect(page.get_by_test_id("difference")).to_be_visible()
    page.keyboard.type("already", delay=5)  # letters that are keys of the desk
    expect(said).to_have_value("I pay too much already")
    assert len(feedback.sent) == 1
    wait_told(world, "c31", [], ["rejected"])


def test_what_was_told_of_one_customer_is_not_shown_of_the_next(page: Page, world: World) -> None:
    ask_for(page, "c16")
    feedback = Held(page, FEEDBACK)
    page.keyboard.press("p")
    feedback.wait()
    ask_for(page, "c17")
    expect(page.locator("#offers-title")).to_contain_text("c17")
    expect(first_offer(page)).to_have_attribute("data-offer", "fibre-600")  # as c16 was offered
    feedback.end()
    expect(page.get_by_text("Presented: Fibre 600")).to_be_visible()
    expect(first_offer(page).locator(".badge")).to_have_count(0)
    wait_told(world, "c16", ["presented"])
    wait_told(world, "c17", [])
    page.keyboard.press("p")
    expect(first_offer(page).locator(".badge")).to_have_text("presented")
    wait_told(world, "c17", ["presented"])


def test_a_no_of_the_customer_before_asks_for_nobody(page: Page, world: World) -> None:
    ask_for(page, "c18")
    feedback = Held(page, FEEDBACK)
    page.keyboard.press("r")
    expect(page.get_by_role("group", name="Why not?")).to_be_visible()
    page.keyboard.press("1")
    feedback.wait()
    ask_for(page, "c19")
    feedback.end()
    expect(page.get_by_text("Rejected: Fibre 600")).to_be_visible()
    expect(page.locator("#offers-title")).to_contain_text("c19")
    wait_told(world, "c18", ["rejected"])
    wait_told(world, "c19", [])


def test_a_no_while_the_next_customer_is_asked_for_asks_for_nobody(page: Page, world: World) -> None:
    ask_for(page, "c32")
    page.keyboard.press("r")
    why = page.get_by_role("group", name="Why not?")
    expect(why).to_be_visible()
    decisions = Held(page, DECISIONS)
    page.get_by_label("Customer id").fill("c33")
    page.get_by_role("button", name="Show offers").click()
    decisions.wait()
    why.get_by_role("button").first.click()  # on the card of c32, which is still shown
    expect(page.get_by_text("Rejected: Fibre 600")).to_be_visible()
    decisions.end()
    expect(page.locator("#offers-title")).to_contain_text("c33")
    wait_told(world, "c32", ["rejected"])
    wait_told(world, "c33", [])
    assert [body["customer_id"] for body in decisions.sent] == ["c33"]


def test_what_another_one_has_answered_meanwhile_stands(page: Page, world: World) -> None:
    ask_for(page, "c20")
    wait_until(lambda: told(world, "c20") == [[]], "the decision to be archived")
    decision = world.http.get("/v1/customers/c20/decisions").json()["decisions"][0]
    answer = {"decision_id": decision["decision_id"], "offer_id": "fibre-600", "outcome": "accepted"}
    world.http.post("/v1/feedback", json=answer).raise_for_status()
    decisions = Held(page, DECISIONS)
    page.keyboard.press("r")
    expect(page.get_by_role("group", name="Why not?")).to_be_visible()
    page.keyboard.press("1")
    expect(page.get_by_role("alert")).to_contain_text("accepted")
    expect(first_offer(page).locator(".badge")).to_have_count(0)
    expect(page.locator("#offers-title")).to_be_focused()
    assert decisions.sent == [], "nothing was refused by the customer, so nothing else is asked for"
    page.keyboard.press("a")  # what the other one told is told again, and counts once
    expect(first_offer(page).locator(".badge")).to_have_text("accepted")
    wait_told(world, "c20", ["accepted"])


def test_what_waited_and_is_refused_in_the_end_is_said_until_it_was_read(page: Page, world: World) -> None:
    ask_for(page, "c21")
    feedback = Held(page, FEEDBACK)
    page.keyboard.press("a")
    feedback.wait()
    feedback.answer(503)
    expect(page.get_by_text("1 outcomes wait")).to_be_visible()
    expect(first_offer(page).locator(".badge")).to_have_text("accepted")
    answer = {"decision_id": feedback.sent[0]["decision_id"], "offer_id": "fibre-600", "outcome": "rejected"}
    world.http.post("/v1/feedback", json=answer).raise_for_status()  # somebody else, meanwhile
    ask_for(page, "c22")
    feedback.end()
    refused = page.get_by_role("alert").filter(has_text="was refused, and is not told")
    expect(refused).to_contain_text("fibre-600 (c21)")
    expect(page.get_by_text("1 outcomes wait")).to_have_count(0)
    page.wait_for_timeout(6500)  # what is only told goes after six seconds
    expect(refused).to_be_visible()
    assert serious_violations(page) == []
    refused.get_by_role("button", name="Seen").click()
    expect(refused).to_have_count(0)
    ask_for(page, "c21")
    contacts = page.locator("section.card").filter(has_text="Earlier contacts").get_by_role("listitem")
    expect(contacts.nth(1)).to_contain_text("fibre-600")  # the first call, which this desk remembers
    expect(contacts.nth(1)).not_to_contain_text("accepted")
    wait_told(world, "c21", [], ["rejected"])


def test_an_outcome_whose_answer_got_lost_is_told_again_and_counts_once(page: Page, world: World) -> None:
    ask_for(page, "c23")
    feedback = Held(page, FEEDBACK)
    page.keyboard.press("a")
    feedback.wait()
    feedback.lose_answers()
    expect(page.get_by_text("1 outcomes wait")).to_be_visible()
    feedback.end()
    expect(page.get_by_text("1 outcomes wait")).to_have_count(0)
    wait_told(world, "c23", ["accepted"])


def test_an_outcome_that_is_never_answered_waits_and_is_sent_again(browser: Browser, world: World) -> None:
    with opened(browser, world, "agent") as page:
        page.clock.install()
        visit(page, "/console/desk")
        ask_for(page, "c24")
        feedback = Held(page, FEEDBACK)
        page.keyboard.press("p")
        feedback.wait()
        page.clock.fast_forward(PATIENCE_S * 1000)
        expect(page.get_by_text("1 outcomes wait")).to_be_visible()
        page.unroute_all()
        page.clock.fast_forward(3000)
        expect(page.get_by_text("1 outcomes wait")).to_have_count(0)
    wait_told(world, "c24", ["presented"])


def test_outcomes_that_wait_outlive_the_page_and_are_sent_after_it(page: Page, world: World) -> None:
    ask_for(page, "c25")
    page.route(FEEDBACK, lambda route: route.fulfill(status=503, json={"detail": "away"}))
    for key, waiting in (("p", "1 outcomes wait"), ("a", "2 outcomes wait")):
        page.keyboard.press(key)
        expect(page.get_by_text(waiting)).to_be_visible()
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        kind = dialog.type
        dialog.dismiss()
        asked.append(kind)  # now that the page goes on

    page.once("dialog", stay)
    page.close(run_before_unload=True)

    def was_asked() -> bool:
        page.wait_for_timeout(20)  # lets the browser's events in
        return bool(asked)

    wait_until(was_asked, "the question whether to leave")
    assert asked == ["beforeunload"]
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(page.get_by_text("2 outcomes wait")).to_be_visible()
    page.unroute_all()
    expect(page.get_by_text("outcomes wait")).to_have_count(0)
    wait_told(world, "c25", ["presented", "accepted"])
    page.route(FEEDBACK, lambda route: route.fulfill(status=503, json={"detail": "away"}))
    ask_for(page, "c34")
    page.keyboard.press("a")
    expect(page.get_by_text("1 outcomes wait")).to_be_visible()
    page.unroute_all()
    page.once("dialog", lambda dialog: dialog.accept())
    page.goto("/console/reports")  # where the desk is not loaded
    wait_told(world, "c34", ["accepted"])
    # It is archived, maybe before the answer is here: until then the page would tell it again.
    page.wait_for_function("sessionStorage.getItem('nextbest.outbox') === '[]'")
    visit(page, "/console/desk")
    told_again: list[Request] = []
    page.on("request", lambda request: told_again.append(request) if "/feedback" in request.url else None)
    page.reload()
    ask_for(page, "c26")
    assert told_again == []


def test_an_answer_that_got_lost_is_asked_for_again_by_its_id(page: Page, world: World) -> None:
    decisions = Held(page, DECISIONS)
    page.get_by_label("Customer id").fill("c27")
    page.keyboard.press("Enter")
    decisions.wait()
    decisions.lose_answers()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Try again").click()
    decisions.wait(2)
    decisions.answer(503)
    expect(page.get_by_role("alert")).to_contain_text("away")
    page.get_by_label("Customer id").press("Enter")  # another way to try it again
    decisions.wait(3)
    decisions.end()
    expect(page.locator("#offers-title")).to_be_focused()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert len({body["decision_id"] for body in decisions.sent}) == 1
    wait_told(world, "c27", [])
    ask_for(page, "c27")
    wait_told(world, "c27", [], [])


def test_the_next_offers_after_a_no_are_asked_for_again(page: Page, world: World) -> None:
    ask_for(page, "c28")
    decisions = Held(page, DECISIONS)
    page.keyboard.press("r")
    expect(page.get_by_role("group", name="Why not?")).to_be_visible()
    page.keyboard.press("1")
    decisions.wait()
    decisions.answer(503)
    expect(page.get_by_role("alert")).to_contain_text("away")
    expect(first_offer(page).locator(".badge")).to_have_text("rejected")
    page.get_by_role("button", name="Try again").click()
    decisions.wait(2)
    decisions.end()
    expect(page.get_by_test_id("difference")).to_contain_text("After the no to “Fibre 600")
    assert decisions.sent[0] == decisions.sent[1]
    assert decisions.sent[0]["context"]["rejected_offer"] == "fibre-600"
    wait_told(world, "c28", [], ["rejected"])


def test_the_desk_says_what_was_missing_until_the_next_answer_has_it(page: Page) -> None:
    def degrade(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"degraded": ["policy_unavailable"]})

    ask_for(page, "c29")
    page.route(DECISIONS, degrade)
    page.keyboard.press("r")
    expect(page.get_by_role("group", name="Why not?")).to_be_visible()
    page.keyboard.press("1")
    expect(page.get_by_role("alert")).to_contain_text("the fallback decided")
    expect(page.get_by_test_id("difference")).to_be_visible()
    page.unroute_all()
    ask_for(page, "c30")
    expect(page.locator("#offers-title")).to_contain_text("c30")
    expect(page.get_by_role("alert")).to_have_count(0)


def texts_of(world: World, customer: str) -> list[str]:
    """The notes on a customer, the newest first."""
    return [note["text"] for note in world.http.get(f"/v1/customers/{customer}/notes").json()["notes"]]


def write_note(page: Page, text: str) -> None:
    """Write a note, and keep it."""
    page.get_by_label("New note").fill(text)
    page.get_by_role("button", name="Keep note").click()


def test_a_note_is_kept_beside_that_of_somebody_else(page: Page, world: World) -> None:
    path = "/v1/customers/c40/notes"
    ask_for(page, "c40")
    notes = page.get_by_test_id("notes")
    expect(notes.get_by_text("No notes yet")).to_be_visible()
    held = Held(page, NOTES)
    write_note(page, "Mine")
    held.wait()
    world.http.post(path, json={"text": "Theirs"}).raise_for_status()
    page.get_by_label("New note").fill("Mine, and more")  # while the first one is on its way
    held.end()
    expect(notes.get_by_role("listitem")).to_have_count(2)
    expect(page.get_by_label("New note")).to_have_value("Mine, and more")
    assert texts_of(world, "c40") == ["Mine", "Theirs"]


def test_a_note_whose_answer_got_lost_is_kept_once(page: Page, world: World) -> None:
    path = "/v1/customers/c41/notes"
    ask_for(page, "c41")
    notes = page.get_by_test_id("notes")
    expect(notes.get_by_text("No notes yet")).to_be_visible()
    held = Held(page, NOTES)
    write_note(page, "No answer")
    held.wait()
    held.lose_answers()
    expect(notes.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_label("New note")).to_have_value("No answer")
    world.http.post(path, json={"text": "No answer"}).raise_for_status()  # another one's
    page.get_by_role("button", name="Keep note").click()
    expect(page.get_by_label("New note")).to_have_value("")
    assert len(held.sent) == 1
    held.end()
    write_note(page, "No answer")  # once more, on purpose
    expect(notes.get_by_role("listitem")).to_have_count(3)
    assert texts_of(world, "c41") == ["No answer"] * 3


def test_a_note_whose_answer_got_lost_is_kept_once_though_the_others_were_not_read(
    page: Page, world: World
) -> None:
    page.route(NOTES, lambda route: route.fulfill(status=503, json={"detail": "away"}))
    ask_for(page, "c45")
    notes = page.get_by_test_id("notes")
    expect(notes.get_by_role("alert")).to_contain_text("away")
    page.unroute_all()
    held = Held(page, NOTES)
    write_note(page, "No answer")
    held.wait()
    held.lose_answers()
    expect(notes.get_by_role("alert")).to_contain_text("cannot be reached")
    page.get_by_role("button", name="Keep note").click()
    expect(page.get_by_label("New note")).to_have_value("")
    held.end()
    expect(notes.get_by_role("listitem")).to_have_count(1)
    assert len(held.sent) == 1
    assert texts_of(world, "c45") == ["No answer"]


def test_a_note_that_somebody_else_removed_is_gone_and_the_others_stay(page: Page, world: World) -> None:
    path = "/v1/customers/c42/notes"
    ask_for(page, "c42")
    notes = page.get_by_test_id("notes")
    for text in ("First", "Second"):
        write_note(page, text)
        expect(notes.get_by_role("listitem").first).to_contain_text(text)
    second = world.http.get(path).json()["notes"][0]["note_id"]
    world.http.delete(f"{path}/{second}").raise_for_status()
    notes.get_by_role("listitem").first.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Somebody else has removed this note meanwhile.")).to_be_visible()
    expect(notes.get_by_role("listitem")).to_have_count(1)
    expect(notes.get_by_role("alert")).to_have_count(0)
    assert texts_of(world, "c42") == ["First"]


def test_a_note_that_fails_when_the_next_customer_is_there_is_told_of(page: Page, world: World) -> None:
    ask_for(page, "c43")
    held = Held(page, NOTES)
    write_note(page, "Call back")
    held.wait()
    ask_for(page, "c44")
    expect(page.locator("#offers-title")).to_contain_text("c44")
    held.answer(503)
    expect(page.get_by_text("a note on c43 may have failed: away")).to_be_visible()
    assert texts_of(world, "c43") == texts_of(world, "c44") == []
