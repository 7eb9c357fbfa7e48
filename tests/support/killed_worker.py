"""A worker that is killed at a step: ``python -m tests.support.killed_worker MODULE:CLASS.METHOD before|after``.

SIGKILL, sent to itself: no clean-up runs, connections break, and what was not durable is gone.
"""

import asyncio
import importlib
import os
import signal
import sys
from typing import Any

from app.config import get_settings
from app.worker.run import run_worker


def deadly(step: str, when: str) -> None:
    """Make the first call of a method the end of this process."""
    module, _, path = step.partition(":")
    class_name, _, method = path.partition(".")
    owner = getattr(importlib.import_module(module), class_name)
    original = getattr(owner, method)

    async def killed(*arguments: Any, **named: Any) -> None:
        if when == "after":
            await original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, killed)


if __name__ == "__main__":
    deadly(sys.argv[1], sys.argv[2])
    asyncio.run(run_worker(get_settings()))
