"""The part of the OpenAPI document that pages and apps use, from which the types of the JavaScript client are made."""

import json
import re
from pathlib import Path
from typing import Any

from app.config import Settings
from app.main import create_app
from app.publishable.gate import PUBLIC

STORED = Path(__file__).resolve().parents[2] / "clients" / "js" / "openapi.json"
_REFERENCE = re.compile(r'"#/components/schemas/(\w+)"')


def public_document() -> dict[str, Any]:
    """The paths for publishable keys, and the schemas that they need."""
    whole = create_app(Settings(log_level="error")).openapi()
    paths = {path: methods for path, methods in whole["paths"].items() if path.startswith(PUBLIC)}
    schemas: dict[str, Any] = whole["components"]["schemas"]
    needed: set[str] = set()
    found = set(_REFERENCE.findall(json.dumps(paths)))
    while found:
        needed |= found
        found = set(_REFERENCE.findall(json.dumps([schemas[name] for name in found]))) - needed
    return {
        "openapi": whole["openapi"],
        "info": {"title": whole["info"]["title"], "version": whole["info"]["version"]},
        "paths": paths,
        "components": {"schemas": {name: schemas[name] for name in sorted(needed)}},
    }


def written(document: dict[str, Any]) -> str:
    """The document as it is stored."""
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    STORED.write_text(written(public_document()), encoding="utf-8")
