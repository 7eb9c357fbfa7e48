"""The sample page of the JavaScript client, served from an origin of its own, as a shop's page would be."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from demo.names import WEB

FILES = Path(__file__).resolve().parents[2] / "clients" / "js"
"""Of a checkout: packages do not have it."""
POLL_S = 0.05
PAGE = "sample/index.html"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: Any) -> None:
        """Write nothing: the screen belongs to the demo."""


@contextmanager
def serving_shop(host: str, files: Path = FILES) -> Iterator[str | None]:
    """Serve the page on a free port until the block ends; yields its origin.

    Yields None where there is no such page, and for an address of IPv6, at which it is not served.
    """
    if ":" in host or not (files / PAGE).is_file():
        yield None
        return
    with ThreadingHTTPServer((host, 0), partial(_Quiet, directory=str(files))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def page_address(origin: str, api_url: str, key: str) -> str:
    """Return the address of the page, which is told there whom to ask, with which key, and where its offers stand."""
    return f"{origin}/{PAGE}?{urlencode({'url': api_url, 'key': key, 'placement': WEB})}"
