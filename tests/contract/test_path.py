"""The path of a decision: the files that one request runs through, from the route to the Redis function and back."""

import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bandits import compiled
from tests.support.api import Instance, decide

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parents[2]
ROUTE = "app/api/decisions/routes.py"
MAX_FILES = 25
LISTED = re.compile(r"^\d+\. `([\w/]+\.py)`:", re.MULTILINE)

_asked: ContextVar[bool] = ContextVar("asked", default=False)


class Recorder:
    """Records the project's files in which functions are called for one request, in the order of the first call.

    Tasks that serve others have contexts of their own, so what they run meanwhile does not count.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self._around: set[str] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note the file of a call, once the route has been entered."""
        if event != "call" or not _asked.get():
            return
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(ROOT) or ".venv" in path.parts or "tests" in path.parts:
            return
        name = path.relative_to(ROOT).as_posix()
        if not self.files and name == ROUTE:
            self._around = set(_callers_of(frame))
        if (
            (self.files or name == ROUTE)
            and name not in self.files
            and frame.f_code.co_filename not in self._around
        ):
            self.files.append(name)


def _callers_of(frame: FrameType) -> Iterator[str]:
    """The files of the functions that wait for a call: what they do with the answer is not a step to it."""
    caller = frame.f_back
    while caller is not None:
        yield caller.f_code.co_filename
        caller = caller.f_back


async def path_of_a_decision(api: Instance) -> list[str]:
    """The files of a decision of a customer who is known, has contacts, and was asked for before."""
    for _ in range(3):  # the first ones load what is cached then
        await decide(api)
    recorder, token = Recorder(), _asked.set(True)
    sys.setprofile(recorder)
    try:
        await decide(api)
    finally:
        sys.setprofile(None)
        _asked.reset(token)
    return recorder.files


async def test_the_path_of_a_decision_is_short_and_as_documented(
    api: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Compiled kernels do in C what Python does without them: the longer path is documented.
    monkeypatch.setattr(compiled, "kernels", None)
    files = await path_of_a_decision(api)
    assert len(files) <= MAX_FILES, "\n".join(files)
    documented = LISTED.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert documented == files
