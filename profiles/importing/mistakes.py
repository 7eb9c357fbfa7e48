"""Mistakes of a file as a whole, noted one after the other so that all of them are told at once."""

from collections.abc import Callable
from typing import ParamSpec

from profiles.errors import ImportFileError

P = ParamSpec("P")


class Mistakes:
    """Mistakes that were found so far, each once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str | None, str], ImportFileError] = {}

    def note(self, message: str, field: str | None = None) -> None:
        """Note a mistake."""
        self._found.setdefault((field, message), ImportFileError(message, field))

    def of(self, check: Callable[P, object], *values: P.args, **named: P.kwargs) -> None:
        """Make a check, and note the ``ImportFileError`` that it raises."""
        try:
            check(*values, **named)
        except ImportFileError as error:
            for mistake in error.mistakes:
                self._found.setdefault((mistake.field, str(mistake)), mistake)

    def raise_all(self) -> None:
        """Raise ``ImportFileError`` if there is any mistake."""
        if self._found:
            raise ImportFileError.of([*self._found.values()])
