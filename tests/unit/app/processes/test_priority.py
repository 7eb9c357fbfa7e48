"""A process gives way to others, and what it starts does too."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
from app.processes.priority import AUTOGROUP, give_way
inherited, wanted = int(sys.argv[1]), int(sys.argv[2])
os.nice(inherited)
give_way(wanted)
child = [sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"]
print(json.dumps({
    "own": os.getpriority(os.PRIO_PROCESS, 0),
    "child": int(subprocess.check_output(child)),
    "group": (AUTOGROUP.read_text().split() or [""])[-1] if AUTOGROUP.exists() else "",
}))
"""


def run(inherited: int, wanted: int, *, leads_session: bool = True) -> dict[str, Any]:
    """What becomes of a process in a session of its own, which it leads, or its parent does."""
    command = [sys.executable, "-c", SCRIPT, str(inherited), str(wanted)]
    if not leads_session:
        command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]
    done = subprocess.run(command, capture_output=True, check=True, start_new_session=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("inherited", "wanted", "expected"), [(0, 5, 5), (0, 0, 0), (7, 5, 7)])
def test_a_process_is_as_nice_as_it_is_told_or_was_before(inherited: int, wanted: int, expected: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    found = run(inherited, wanted)
    expected = max(before + inherited, expected)
    assert (found["own"], found["child"]) == (expected, expected)
    if found["group"] and wanted > before + inherited:
        assert int(found["group"]) == wanted


def test_a_session_that_somebody_else_leads_keeps_its_weight() -> None:
    before = run(0, 0, leads_session=False)["group"]
    found = run(0, 6, leads_session=False)
    assert (found["own"] >= 6, found["group"]) == (True, before)
