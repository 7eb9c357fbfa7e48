"""The errors of this package, all below one root, and a phrase that several messages share."""

from collections.abc import Iterable
from difflib import get_close_matches


class BanditsError(Exception):
    """The root of all errors of ``bandits``."""


class UnknownPolicy(BanditsError):
    """No policy is registered under this name and version."""


class PolicyParameterError(BanditsError):
    """Something in a policy's specification is missing, unknown or out of range.

    ``field`` says what, as a path into the specification (``parameters.epsilon``, ``features[2].path``); ``None`` if
    that is not known.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class PluginError(BanditsError):
    """The policy of an installed package cannot be used; the message names the package and the reason."""


class StateCodecError(BanditsError):
    """A stored arm state cannot be read: its field has no known form, or it has another width."""


class EvaluationError(BanditsError):
    """Logged rows cannot be evaluated: shapes, ranges, unknown probabilities, or no overlap with the target."""


class ConformanceError(BanditsError, AssertionError):
    """A policy breaks one of the laws of ``bandits.conformance.checks``; the message names the law."""


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` if a known name is near to the given one, else nothing."""
    near = get_close_matches(str(given)[:100], sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
