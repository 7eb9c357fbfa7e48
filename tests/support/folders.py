"""Folders for servers of tests."""

import tempfile
from pathlib import Path


def open_folder() -> Path:
    """Make an empty folder with a short name that the servers' user can pass through, also where tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="nextbest-"))
    folder.chmod(0o711)
    return folder
