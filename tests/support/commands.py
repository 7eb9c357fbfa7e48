"""Commands of ours that are run to their end."""

import os
import subprocess
import sys
import tempfile

from tests.support.forking import Forked, can_fork
from tests.support.installation import ROOT, START_S


def run_command(*arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
    """Run `nextbest` with these arguments, and no settings but these; returns whatever became of it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NEXTBEST_", "PROMETHEUS_"))}
    env = kept | {f"NEXTBEST_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        if can_fork():
            status = Forked("app.cli", arguments, env, ROOT, output, errors).wait(START_S)
        else:
            command = [sys.executable, "-m", "app.cli", *arguments]
            done = subprocess.run(
                command, env=env, cwd=ROOT, stdout=output, stderr=errors, timeout=START_S, check=False
            )
            status = done.returncode
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, status, *texts)
