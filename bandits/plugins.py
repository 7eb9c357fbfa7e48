"""Algorithms of installed packages, found through the entry point group ``nextbest.policies``.

A specification names an algorithm by the name of its entry point, never by the path of a class: what is loaded was
chosen by whoever installed the package, not by whoever wrote the specification.
"""

import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from bandits.errors import PluginError

GROUP = "nextbest.policies"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


def usable_plugins(taken: Collection[str]) -> Mapping[str, str]:
    """Map the name of each usable entry point to its target and its package; nothing is imported."""
    points = _entry_points()
    return {name: _describe(points[name]) for name in points if refusal_reason(name, taken) is None}


def refused_plugins(taken: Collection[str]) -> Mapping[str, str]:
    """Map the name of each entry point that cannot be used because of its name to the reason; nothing is imported."""
    return {name: why for name in _entry_points() if (why := refusal_reason(name, taken))}


def refusal_reason(name: str, taken: Collection[str]) -> str | None:
    """Return why the entry point ``name`` cannot be used, or ``None``. ``taken``: names that it must not have."""
    points = _entry_points()[name]
    if not NAME.fullmatch(name):
        return f"{_describe(points)} is called {name!r}; a name is small letters, digits, _ and -"
    if name in taken:
        return f"{_describe(points)} is called {name!r}, like an algorithm of nextbest: it has to be renamed"
    if len(points) > 1:
        return f"several packages offer {name!r}, only one can be installed: {_describe(points)}"
    return None


def load_plugin(name: str, taken: Collection[str]) -> Callable[..., Any] | None:
    """Import the target of the entry point ``name``; ``None`` if there is no such entry point.

    Raises ``PluginError`` if it must not be used, cannot be imported, or is nothing to make a policy with.
    """
    points = _entry_points().get(name)
    if points is None:
        return None
    why = refusal_reason(name, taken)
    if why is not None:
        raise PluginError(why)
    try:
        algorithm: Any = points[0].load()
    except (Exception, SystemExit) as error:  # whatever a package does while it is imported
        raise PluginError(f"{_describe(points)} cannot be imported: {error!r}") from error
    if not callable(algorithm):
        raise PluginError(f"{_describe(points)} is {type(algorithm).__name__}, not the class of a policy")
    return cast(Callable[..., Any], algorithm)


def clear_plugin_cache() -> None:
    """Look for entry points anew when they are next asked for."""
    _entry_points.cache_clear()


@cache  # reading the metadata of all packages takes milliseconds, and policies are built often
def _entry_points() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return all entry points of the group, by name. The same one found twice on the path counts once."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, {}).setdefault(f"{point.value} {_package_name(point)}", point)
    return {name: tuple(points[key] for key in sorted(points)) for name, points in sorted(found.items())}


def _describe(points: tuple[EntryPoint, ...]) -> str:
    return " and ".join(f"{point.value} of {_package_name(point)}" for point in points)


def _package_name(point: EntryPoint) -> str:
    return "an unnamed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
