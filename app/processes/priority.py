"""The priority of a process against others of the machine."""

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def give_way(niceness: int) -> None:
    """Let processes of a lower niceness go first where they want the same core; never less than was inherited.

    What this process starts inherits it.
    """
    niceness = max(niceness, os.getpriority(os.PRIO_PROCESS, 0))
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    # Outside of containers Linux weighs whole sessions against each other (sched(7), "The autogroup feature"), and the
    # niceness of processes only within theirs.
    with suppress(OSError):
        AUTOGROUP.write_text(str(niceness))
