"""``python -m benchmarks.console_pages``: how long pages of the console keep a browser busy, with 2,500 offers.

In Chromium, on servers of its own. Each page is opened a few times and scrolled to its end. Columns, in milliseconds,
medians: until it shows what it asked for, the longest task of the page's thread until then (a key that is pressed
meanwhile waits as long), and the longest time between two frames while it is scrolled.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from statistics import median

import httpx
from playwright.sync_api import Browser, Page
from rich.console import Console

from benchmarks.__main__ import make_key
from benchmarks.console import catalogue, fill
from benchmarks.machine import BenchError, describe, pin
from benchmarks.plan import RESULTS
from benchmarks.processes import ApiProcess, Site, api, fresh_servers, worker
from storage.postgres import make_engine
from tests.support.browser import open_browser

OFFERS, TIMES, TIMEOUT_MS = 2500, 5, 60_000
WRITTEN = RESULTS.parent / "console-pages.json"
PAGES = (
    "/console",
    "/console/reports",
    "/console/offers",
    "/console/offers/offer-7",
    "/console/new-offer",
    "/console/groups",
    "/console/capacity",
    "/console/audit",
    "/console/placements/home",
    "/console/calibration",
    "/console/desk",
)
NOTE_TASKS = """
window.longest = 0
new PerformanceObserver(list => {
    for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration)
}).observe({type: "longtask", buffered: true})
"""
SCROLL = """
() => new Promise(done => {
    let longest = 0, last = performance.now()
    const place = document.scrollingElement, step = Math.max(600, place.scrollHeight / 120)
    const frame = now => {
        longest = Math.max(longest, now - last)
        last = now
        if (place.scrollTop + place.clientHeight >= place.scrollHeight - 2) return done(longest)
        place.scrollTop += step
        requestAnimationFrame(frame)
    }
    requestAnimationFrame(now => { last = now; requestAnimationFrame(frame) })
})
"""


@dataclass(frozen=True, slots=True)
class PageTimes:
    """Medians of one page, in milliseconds. Tasks below 50 ms are not told by browsers, and count as 0."""

    page: str
    shown_ms: float
    longest_task_ms: float
    longest_frame_ms: float


def main() -> int:
    """Measure, show, save; the exit status is 2 if it cannot be measured here."""
    console = Console(width=100)
    try:
        with fresh_servers() as (folder, urls):
            key, _ = asyncio.run(make_key(urls))
            site = Site(folder, urls, key, pin())
            with worker(site), api(site) as process:
                furnish(site, process)
                with open_browser() as browser:
                    found = [measure(browser, process, key, path) for path in PAGES]
    except (BenchError, FileNotFoundError) as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 2
    for one in found:
        numbers = f"{one.shown_ms:>9.0f}{one.longest_task_ms:>9.0f}{one.longest_frame_ms:>9.0f}"
        console.print(f"{one.page:<40}{numbers}", highlight=False)
    result = {"offers": OFFERS, "pages": [asdict(one) for one in found], "machine": describe()}
    WRITTEN.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def furnish(site: Site, process: ApiProcess) -> None:
    """Publish the offers, and write the roll-up and the log of some weeks."""
    # Not by the benchmarks' caller, which waits 30 s: thousands of entries at once may take longer.
    answer = httpx.post(
        f"{process.url}/v1/catalog/apply",
        json=catalogue(OFFERS),
        headers={"X-API-Key": site.key},
        timeout=600,
    )
    if not answer.is_success:
        raise BenchError(f"the catalogue was refused: {answer.text[:500]}")

    async def filled() -> None:
        engine = make_engine(site.urls.postgres_url, statement_s=600)
        await fill(engine, OFFERS)
        await engine.dispose()

    asyncio.run(filled())


def measure(browser: Browser, process: ApiProcess, key: str, path: str) -> PageTimes:
    """Open a page a few times, after once that fills caches, and scroll it to its end."""
    context = browser.new_context(base_url=process.url, locale="en")
    context.set_default_timeout(TIMEOUT_MS)
    if not context.request.post("/console/session", data={"key": key}).ok:
        raise BenchError("the console let nobody in")
    context.add_init_script(NOTE_TASKS)
    page = context.new_page()
    times = [open_page(page, path) for _ in range(TIMES + 1)][1:]
    context.close()
    return PageTimes(path, *(round(median(column), 1) for column in zip(*times, strict=True)))


def open_page(page: Page, path: str) -> tuple[float, float, float]:
    """Open a page; returns when it was shown, its longest task until then, and its longest frame while scrolled."""
    page.goto(path, wait_until="commit")
    shown_ms = page.evaluate(
        """async () => {
            const waits = () => !document.querySelector("h1") || /Loading …/.test(document.body.innerText)
            while (waits()) await new Promise(done => requestAnimationFrame(done))
            return performance.now()
        }"""
    )
    page.wait_for_load_state("networkidle") if path != "/console" else page.wait_for_timeout(500)
    longest_ms = page.evaluate("window.longest")
    return shown_ms, longest_ms, page.evaluate(SCROLL)


if __name__ == "__main__":
    sys.exit(main())
