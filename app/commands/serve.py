"""`nextbest serve`: the HTTP API."""

import uvicorn

from app.config import get_settings
from app.servers import server_urls
from app.telemetry import prepare_metrics


def serve() -> None:
    """Serve until Ctrl-C, with as many processes as configured."""
    settings = get_settings()
    prepare_metrics(settings.data_dir)
    with server_urls(settings) as urls:
        urls.export()
        uvicorn.run(
            "app.main:create_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            loop="uvloop",
            http="app.protocol:Protocol",
            ws="none",
            # Requests are counted in metrics; logs have our own form.
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=10,
        )
