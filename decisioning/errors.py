"""The one error root of this package. ``app/errors.py`` maps these to problem details."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rules.errors import RuleError
from storage.errors import Unavailable


class DecisioningError(Exception):
    """Anything that can go wrong in ``decisioning``."""


class Invalid(DecisioningError):
    """A value is not acceptable. ``field`` names it, the message says why and what would be."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class MissingThing(Invalid):
    """A field names something that there is not. ``missing``: its kind and id."""

    def __init__(self, field: str, kind: str, name: str, way_out: str = "") -> None:
        super().__init__(field, f"there is no {kind} {name!r}{f'; {way_out}' if way_out else ''}")
        self.missing = (kind, name)


class InvalidRule(Invalid):
    """An expression or a text is wrong; ``line``, ``column`` and ``suggestion`` help to mend it."""

    def __init__(self, field: str, error: RuleError) -> None:
        hint = f" ({error.suggestion})" if error.suggestion else ""
        super().__init__(field, f"line {error.line}, column {error.column}: {error.message}{hint}")
        self.rule = error
        self.line = error.line
        self.column = error.column
        self.suggestion = error.suggestion


class NotFound(DecisioningError):
    """There is no such thing. ``what`` and ``name`` say which."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"there is no {what} {name!r}")
        self.what = what
        self.name = name


class Conflict(DecisioningError):
    """The request contradicts what is already recorded."""


class NotAllowed(DecisioningError):
    """Whoever asks may not do it, and somebody else may; the message says who."""


class Busy(Conflict):
    """Somebody else is at the same work, and goes on with it."""


class Overtaken(Conflict):
    """Others have changed the same things meanwhile. ``things``: the path of each, and what became of it."""

    def __init__(self, message: str, things: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.things = tuple(things)


class UnconfirmedRemoval(Conflict):
    """A replacement would drop what must not be dropped unnoticed. ``lost``: each field, and what of it is lost."""

    def __init__(self, message: str, lost: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.lost = tuple(lost)


class PreconditionFailed(DecisioningError):
    """Somebody else has changed it meanwhile."""


class LogCodecError(DecisioningError):
    """A record of the log cannot be read."""


Refusal = Invalid | NotFound | Conflict | Unavailable
"""The error of one item of several, which keeps no other from being recorded."""
REFUSALS = (Invalid, NotFound, Conflict, Unavailable)


def raised(check: Callable[..., object], *arguments: Any) -> Iterator[Invalid]:
    """Yield what a check raises for its arguments, if it does."""
    try:
        check(*arguments)
    except Invalid as error:
        yield error
