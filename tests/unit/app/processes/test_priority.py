"""A process gives way to others, and what it starts does too."""

import json
import os
import subprocess
import sys
from pathlib import Path

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
    "group": AUTOGROUP.read_text().split()[-1] if AUTOGROUP.exists() else "",
}))
"""


@pytest.mark.parametrize(("inherited", "wanted", "expected"), [(0, 5, 5), (0, 0, 0), (7, 5, 7)])
def test_a_process_is_as_nice_as_it_is_told_or_was_before(inherited: int, wanted: int, expected: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(inherited), str(wanted)],
        capture_output=True,
        check=True,
        start_new_session=True,
    )
    found = json.loads(done.stdout)
    expected = max(before + inherited, expected)
    assert (found["own"], found["child"]) == (expected, expected)
    if Path("/proc/sys/kernel/sched_autogroup_enabled").exists() and found["group"]:
        assert int(found["group"]) == expected
