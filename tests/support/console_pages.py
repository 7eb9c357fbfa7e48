"""Pages of the console in a browser of tests: signed in, visited, and looked at by axe-core."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.keys import Role
from tests.support.console_world import World
from tests.support.waiting import wait_until

AXE = Path(__file__).parent / "axe" / "axe.min.js"
expect.set_options(timeout=20_000)


@contextmanager
def opened(browser: Browser, world: World, role: Role | None, **options: object) -> Iterator[Page]:
    """A page of a browser that is signed in; it must not have said that anything is wrong."""
    context: BrowserContext = browser.new_context(base_url=world.url, locale="en", **options)  # type: ignore[arg-type]
    context.set_default_timeout(15_000)
    wrong: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    if role is not None:
        answer = context.request.post("/console/session", data={"key": world.keys[role]})
        assert answer.ok
    yield page
    context.close()
    # Refused requests are said to be errors; policies that were broken too, and those are.
    assert [text for text in wrong if "Failed to load resource" not in text] == []


def visit(page: Page, path: str) -> None:
    """Open a page of the console, and wait until it shows what it loaded."""
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("Loading …").or_(page.get_by_text("Cargando …"))).to_have_count(0)


def ask_for(page: Page, customer: str) -> None:
    """Ask for offers for a customer at the desk, and wait until they are there."""
    page.get_by_label("Customer id").fill(customer)
    page.keyboard.press("Enter")
    expect(page.locator("#offers-title")).to_be_focused()


def refused(page: Page, label: str, reason: str) -> None:
    """Expect a mistake to be told at its field, to screen readers too."""
    field = page.get_by_label(label, exact=True)

    def is_told() -> bool:
        # What was told of the id before goes as the next one is typed, so all is looked at together.
        described = (field.get_attribute("aria-describedby") or "").split()[-1:]
        texts = [text for name in described for text in page.locator(f"#{name}").all_text_contents()]
        return field.get_attribute("aria-invalid") == "true" and any(reason in text for text in texts)

    wait_until(is_told, f"the mistake to be told at {label}")


def serious_violations(page: Page) -> list[str]:
    """What axe-core finds on a page that would keep somebody from using it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations']})"
    )
    assert len(found["passes"]) > 10, "the page was not looked at"
    return [
        f"{violation['id']}: {violation['help']}: {node['html']}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"][:3]
    ]
