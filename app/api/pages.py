"""Pages that a browser finds without a key: where to go, and the documentation, with nothing from outside."""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = "/docs/assets"


def add_pages(app: FastAPI) -> None:
    """Add ``/`` and ``/docs``."""
    # Of this package only the files are used: Swagger UI, as it was released.
    app.mount(ASSETS, StaticFiles(directory=Path(str(files("fastapi_offline") / "static"))), name="assets")

    @app.get("/", include_in_schema=False)
    async def index() -> dict[str, str | list[str]]:
        """Tell where to go."""
        return {
            "name": "nextbest",
            "version": version("nextbest"),
            "console": "/console",
            "documentation": "/docs",
            "openapi": "/openapi.json",
            "ask": "POST /v1/decisions",
            "tell": "POST /v1/feedback",
            "health": ["/livez", "/readyz"],
            "metrics": "/metrics",
        }

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        """Show the documentation of the API."""
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title}: API",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )
