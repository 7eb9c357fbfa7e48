"""The priority of a process against others of the machine."""

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")


def give_way(niceness: int) -> None:
    """Give a process less weight than others where they want the same core; never more than it was started with.

    What this process starts inherits it. Nothing changes between containers: each has a weight of its own.
    """
    if niceness <= os.getpriority(os.PRIO_PROCESS, 0):
        return
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    # Outside of containers Linux weighs whole sessions against each other (sched(7), "The autogroup feature"), and the
    # niceness of processes only within theirs. That of a session is for the process that leads it to change.
    if os.getsid(0) == os.getpid():
        with suppress(OSError, ValueError, IndexError):
            if niceness > int(AUTOGROUP.read_text().split()[-1]):
                AUTOGROUP.write_text(str(niceness))
