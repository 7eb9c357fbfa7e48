"""`nextbest work`: the background jobs."""

import uvloop

from app.config import get_settings
from app.servers import server_urls
from app.telemetry import configure_logs, prepare_metrics


def work() -> None:
    """Learn, archive and expire until Ctrl-C."""
    settings = get_settings()
    configure_logs(settings.log_level)
    prepare_metrics(settings.data_dir)
    with server_urls(settings) as urls:
        urls.export()
        # Only now: the worker's modules make their metrics when they are imported.
        from app.worker.run import run_worker

        uvloop.run(run_worker(get_settings()))
