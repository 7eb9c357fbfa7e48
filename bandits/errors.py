"""The one error root of this package."""


class BanditsError(Exception):
    """Anything that can go wrong in ``bandits``."""


class UnknownPolicy(BanditsError):
    """No policy is registered under this name and version."""


class PolicyParameterError(BanditsError):
    """A parameter of a policy's specification is missing, unknown or out of range."""


class StateCodecError(BanditsError):
    """A stored arm state cannot be read: it has another version or another width."""
