"""The one error root of this package."""


class BanditsError(Exception):
    """Anything that can go wrong in ``bandits``."""


class UnknownPolicy(BanditsError):
    """No policy is registered under this name and version."""


class PolicyParameterError(BanditsError):
    """A parameter of a policy's specification is missing, unknown or out of range."""


class StateCodecError(BanditsError):
    """A stored arm state cannot be read: its field has no known form, or it has another width."""


class EvaluationError(BanditsError):
    """Logged rows cannot be evaluated: shapes, ranges, unknown probabilities, or no overlap with the target."""


class ConformanceError(BanditsError, AssertionError):
    """A policy breaks one of the laws of ``bandits.checks``; the message names the law."""
