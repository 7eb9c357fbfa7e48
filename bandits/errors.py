"""The errors of this package, all below one root."""


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
