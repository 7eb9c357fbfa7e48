"""Checks on the parameters of a policy's specification."""

from collections.abc import Mapping

from bandits.errors import PolicyParameterError


def no_parameters(algorithm: str, parameters: Mapping[str, float]) -> None:
    """Raise ``PolicyParameterError`` if there are any."""
    known_parameters(algorithm, parameters, ())


def known_parameters(algorithm: str, parameters: Mapping[str, float], known: tuple[str, ...]) -> None:
    """Raise ``PolicyParameterError`` for the first parameter that ``algorithm`` does not have."""
    for name in parameters:
        if name not in known:
            have = ", ".join(known) or "none"
            raise PolicyParameterError(f"{algorithm} has no parameter {name!r}; it has: {have}")


def in_range(name: str, value: float, low: float, high: float) -> float:
    """Return ``value`` if ``low <= value <= high``, else raise ``PolicyParameterError``."""
    if not low <= value <= high:
        raise PolicyParameterError(f"{name} must be between {low} and {high}, not {value}")
    return float(value)
