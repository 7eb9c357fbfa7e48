"""The console's files: read once, sent with an address that changes with them, and nothing from outside."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}
IMPORTS = {"preact": "preact.mjs", "preact/hooks": "preact-hooks.mjs", "htm": "htm.mjs", "uplot": "uplot.mjs"}
"""Libraries by the names that modules import them by."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class ConsoleFiles:
    """All files, by their path; the page that loads them; and the policy that the page is sent with."""

    digest: str
    page: bytes
    policy: str
    files: Mapping[str, bytes]

    def headers(self) -> dict[str, str]:
        """Write the headers of the page: it is asked for anew each time, since it names the files in force."""
        return {**SECURITY_HEADERS, "Content-Security-Policy": self.policy, "Cache-Control": "no-cache"}

    def file_headers(self, digest: str) -> dict[str, str]:
        """Write the headers of a file that was asked for under a digest.

        Under that in force it never changes; a page that is still open from before gets the present file.
        """
        forever = "public, max-age=31536000, immutable"
        return {**SECURITY_HEADERS, "Cache-Control": forever if digest == self.digest else "no-cache"}


def load_files(base: str) -> ConsoleFiles:
    """Read all files. ``base``: the path below which they are served, each under ``<base>/<digest>/<path>``."""
    files = {
        path.relative_to(STATIC).as_posix(): path.read_bytes()
        for path in sorted(STATIC.rglob("*"))
        if path.is_file() and path.suffix in TYPES
    }
    template = (STATIC / "index.html").read_text(encoding="utf-8")
    whole = sha256(template.encode())
    for path, body in files.items():
        whole.update(path.encode() + b"\0" + body)
    digest = whole.hexdigest()[:16]
    root = f"{base}/{digest}"
    imports = json.dumps({"imports": {name: f"{root}/vendor/{file}" for name, file in IMPORTS.items()}})
    page = template.replace("{imports}", imports).replace("{root}", root)
    # A map of imports can only stand in the page itself: the policy names its hash, and no other script may.
    allowed = base64.b64encode(sha256(imports.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{allowed}'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return ConsoleFiles(digest, page.encode(), policy, files)
