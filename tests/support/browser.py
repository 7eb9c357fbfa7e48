"""A real browser for tests: Chromium, driven by Playwright, with nothing of what it sends home by itself."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--hide-scrollbars")  # fmt: skip
WAY_OUT = (
    "no Chromium was found: `make browser` installs one; or `apt install chromium`,"
    " or `.venv/bin/playwright install chromium`; or name one in the environment variable CHROMIUM"
)


def find_chromium(own: str | None = None) -> str:
    """Find the browser: the one that CHROMIUM names, of the system, or of Playwright (``own``).

    Raises ``FileNotFoundError``, which says how to get one.
    """
    named = os.environ.get("CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"CHROMIUM names {named}, which is not there")
        return named
    found = next(filter(None, map(shutil.which, COMMANDS)), own)
    if found is None or not Path(found).is_file():
        raise FileNotFoundError(WAY_OUT)
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run a browser without a window for as long as the block lasts."""
    with sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def main() -> None:
    """Print the path of the browser; end with 1, and what to do, if there is none."""
    with sync_playwright() as playwright:
        try:
            sys.stdout.write(f"{find_chromium(playwright.chromium.executable_path)}\n")
        except FileNotFoundError as error:
            sys.exit(f"browser: {error}")


if __name__ == "__main__":
    main()
