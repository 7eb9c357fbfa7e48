"""Folders for servers of tests."""

import os
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 8 << 30
"""So much must be free there. Servers of tests take a small part of it, but nothing else may be short of memory."""


def open_folder() -> Path:
    """Make an empty folder with a short name that the servers' user can pass through, also where tests run as root.

    It lies in memory where there is room enough: tests kill processes, and what these wrote outlives them there as
    well. Only a loss of power does more, and no test makes that.
    """
    folder = Path(tempfile.mkdtemp(prefix="nextbest-", dir=_parent()))
    folder.chmod(0o711)
    return folder


def _parent() -> Path | None:
    """Return where folders are made; ``None`` stands for the usual place."""
    try:
        found = os.statvfs(IN_MEMORY)
    except OSError:
        return None
    usable = os.access(IN_MEMORY, os.W_OK | os.X_OK) and found.f_bavail * found.f_frsize >= ROOM_BYTES
    return IN_MEMORY if usable else None
