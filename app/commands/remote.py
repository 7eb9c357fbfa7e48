"""A service that a command talks to over HTTP, from anywhere: it needs an address and a key, and no other settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import typer

from app.commands.terminal import describe_document, fail
from app.config import get_settings
from decisioning.catalog.yaml_values import DocumentError

URL_OPTION = typer.Option(
    None,
    "--url",
    help="the address of a service, such as https://nextbest.example.com, in place of a database",
)
KEY_OPTION = typer.Option(
    None,
    "--key",
    help="its API key, which others on this machine can see: better --key-file or NEXTBEST_API_KEY",
)
KEY_FILE_OPTION = typer.Option(None, "--key-file", help="a file that holds the API key")
PATIENT = httpx.Timeout(30.0, read=600.0, write=600.0)
"""Large files take minutes to be loaded; a service that does not take a connection is given up sooner."""


@dataclass(frozen=True)
class Remote:
    """A service at ``url``, with the key of whoever calls it."""

    url: str
    key: str

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: Any = None,
        json: Any = None,
        file: str | None = None,
    ) -> httpx.Response:
        """Send a request and return its answer. What is wrong is said in lines, with exit status 1.

        ``file``: what mistakes of a document that is sent are said of.
        """
        sent = {"X-API-Key": self.key, **(headers or {})}
        # Times and proxies are those of the environment; redirects are not followed, for the key would go along.
        try:
            with httpx.Client(timeout=PATIENT) as client:
                response = client.request(
                    method, f"{self.url}{path}", params=params, headers=sent, content=content, json=json
                )
        except httpx.TimeoutException:
            fail(f"{self.url} did not answer in time")
        except (httpx.TransportError, httpx.InvalidURL) as error:
            fail(f"{self.url} cannot be reached: {error}")
        if not response.is_success:
            fail(_describe(response, self.url, file))
        return response


def remote(url: str | None, key: str | None, key_file: Path | None) -> Remote | None:
    """Return the service that options name; ``None`` for this machine's own database."""
    if url is None:
        if key is not None or key_file is not None:
            fail("--key and --key-file are for a service: say its address with --url")
        return None
    if not url.startswith(("http://", "https://")) or not httpx.URL(url).host:
        fail(f"--url {url}: must be an address such as https://nextbest.example.com")
    if key is not None and key_file is not None:
        fail("--key and --key-file are both there: say one of them")
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            fail(f"--key-file {key_file}: {getattr(error, 'strerror', None) or 'is not UTF-8'}")
    found = key or get_settings().api_key
    if not found:
        fail("which key? set NEXTBEST_API_KEY or NEXTBEST_API_KEY_FILE, or say --key-file FILE")
    if not found.isascii() or not found.isprintable():
        fail(
            "the key is no API key: those that `nextbest keys create` prints are letters, digits, '_' and '-'"
        )
    return Remote(url.rstrip("/").removesuffix("/v1"), found)


def _describe(response: httpx.Response, url: str, file: str | None) -> str:
    """Describe an answer that is no success, by its problem details if there are some."""
    try:
        problem = response.json()
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{url} answered with status {response.status_code}; is it a nextbest service?"
    errors = problem.get("errors", [])
    if file is not None and any(
        len(errors) > 1 or "entity" in error or error.get("line") for error in errors
    ):
        return describe_document(
            file,
            DocumentError.of(
                [DocumentError(e["field"], e["reason"], e.get("line"), e.get("entity")) for e in errors]
            ),
        )
    if file is not None and response.status_code in (413, 415, 422):
        return f"{file}: {detail}"
    if response.status_code == 401:
        return f"{url} does not know the key: {detail}"
    return detail
