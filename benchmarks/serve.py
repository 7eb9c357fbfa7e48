"""``python -m benchmarks.serve PORT``: the server under test, in one process, run as ``nextbest serve`` runs it.

It is apart from ``benchmarks.server`` because metrics must find their folder prepared when they are first imported.
"""

import sys

import uvicorn

from app.config import get_settings
from app.processes.collector import spare_start
from app.telemetry import prepare_metrics


def main() -> None:
    """Serve on the port that is the only argument."""
    spare_start()
    prepare_metrics(get_settings().data_dir)
    uvicorn.run(
        "benchmarks.server:create",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="app.protocol:Protocol",
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
