"""Checks of the parameters in a policy's specification."""

from collections.abc import Mapping
from typing import Any

from bandits.errors import PolicyParameterError, did_you_mean
from bandits.features import Feature
from bandits.policy import ForwardDecay

DAY_S = 86_400.0


def no_parameters(algorithm: str, parameters: Mapping[str, Any]) -> None:
    """Raise ``PolicyParameterError`` if there are any."""
    known_parameters(algorithm, parameters, ())


def known_parameters(algorithm: str, parameters: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise ``PolicyParameterError`` for the first parameter that ``algorithm`` does not have."""
    for name in parameters:
        if name not in known:
            have = ", ".join(known) or "none"
            raise PolicyParameterError(
                f"{algorithm} has no parameter {name!r}; it has: {have}{did_you_mean(name, known)}",
                f"parameters.{name}",
            )


def no_features(algorithm: str, features: tuple[Feature, ...]) -> None:
    """Raise ``PolicyParameterError`` if there are any."""
    if features:
        raise PolicyParameterError(
            f"{algorithm} takes no features, but {features[0].name!r} is declared", "features"
        )


def in_range(name: str, value: Any, low: float, high: float) -> float:
    """Return ``value`` if it is a number and ``low <= value <= high``, else raise ``PolicyParameterError``."""
    # ``True`` is an ``int`` to Python, but no number in a specification.
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise PolicyParameterError(
            f"{name} must be a number between {low} and {high}, not {value!r}", f"parameters.{name}"
        )
    return float(value)


MIN_HALF_LIFE_DAYS, MAX_HALF_LIFE_DAYS = 1e-5, 36_500.0


def decay_of_half_life(half_life_days: Any) -> ForwardDecay:
    """Return the forgetting of the parameter ``half_life_days``; 0 never forgets.

    Raises ``PolicyParameterError`` if it is neither 0 nor between a second, about, and a hundred years.
    """
    # Shorter ones would make weights infinite, and learning fail.
    days = in_range("half_life_days", half_life_days, 0.0, MAX_HALF_LIFE_DAYS)
    if 0.0 < days < MIN_HALF_LIFE_DAYS:
        raise PolicyParameterError(
            f"half_life_days must be 0, or a number between {MIN_HALF_LIFE_DAYS} and {MAX_HALF_LIFE_DAYS:g},"
            f" not {half_life_days!r}",
            "parameters.half_life_days",
        )
    return ForwardDecay(days * DAY_S if days else None)


def whole_in_range(name: str, value: Any, low: int, high: int) -> int:
    """Return ``value`` if it is a whole number and ``low <= value <= high``, else raise ``PolicyParameterError``."""
    number = in_range(name, value, low, high)
    if not number.is_integer():
        raise PolicyParameterError(f"{name} must be a whole number, not {value!r}", f"parameters.{name}")
    return int(number)


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise ``PolicyParameterError``."""
    if value not in choices:
        raise PolicyParameterError(
            f"{name} must be one of {', '.join(choices)}, not {value!r}", f"parameters.{name}"
        )
    return str(value)
