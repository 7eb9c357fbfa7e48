"""Algorithms of installed packages, found through the entry point group ``nextbest.policies``.

A specification names an algorithm by the name of its entry point, never by the path of a class: what is loaded was
chosen by whoever installed the package, not by whoever wrote the specification.
"""

import re
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bandits.errors import PluginError

GROUP = "nextbest.policies"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


def available(taken: Collection[str]) -> Mapping[str, str]:
    """The usable entry points by name, each with what it stands for and the package it is of; nothing is imported."""
    return {name: _described(points) for name, points in _found().items() if refusal(name, taken) is None}


def refusals(taken: Collection[str]) -> Mapping[str, str]:
    """The entry points that cannot be used because of their names, each with the reason; nothing is imported."""
    return {name: why for name in _found() if (why := refusal(name, taken))}


def refusal(name: str, taken: Collection[str]) -> str | None:
    """Why the entry point ``name`` cannot be used, if there is a reason. ``taken``: names that it must not have."""
    points = _found()[name]
    if not NAME.fullmatch(name):
        return f"{_described(points)} is called {name!r}; a name is small letters, digits, _ and -"
    if name in taken:
        return f"{_described(points)} is called {name!r}, like an algorithm of nextbest: it has to be renamed"
    if len(points) > 1:
        return f"several packages offer {name!r}, only one can be installed: {_described(points)}"
    return None


def load(name: str, taken: Collection[str]) -> Callable[..., Any] | None:
    """What the entry point ``name`` stands for, imported now; ``None`` if there is no such entry point.

    Raises
    ------
    PluginError
        If it must not be used, cannot be imported, or is nothing that a policy could be made with.
    """
    if name not in _found():
        return None
    why = refusal(name, taken)
    if why is not None:
        raise PluginError(why)
    return _imported(_found()[name][0])


def forget() -> None:
    """Look for entry points anew when they are next asked for."""
    _found.cache_clear()


@cache
def _found() -> Mapping[str, tuple[EntryPoint, ...]]:
    """All entry points of the group, by name. The same one found twice on the path counts once."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, {}).setdefault(f"{point.value} {_package(point)}", point)
    return {name: tuple(points[key] for key in sorted(points)) for name, points in sorted(found.items())}


def _imported(point: EntryPoint) -> Callable[..., Any]:
    try:
        algorithm = point.load()
    except (Exception, SystemExit) as error:  # whatever a package does while it is imported
        raise PluginError(f"{_described((point,))} cannot be imported: {error!r}") from error
    if not callable(algorithm):
        raise PluginError(f"{_described((point,))} is {type(algorithm).__name__}, not the class of a policy")
    made: Callable[..., Any] = algorithm
    return made


def _described(points: tuple[EntryPoint, ...]) -> str:
    return " and ".join(f"{point.value} of {_package(point)}" for point in points)


def _package(point: EntryPoint) -> str:
    return "an unnamed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
