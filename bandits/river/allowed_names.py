"""The list of classes and functions that a stored river pipeline may name.

A stored model is data that a process reads back, so what it may bring to life is a list: the classes and functions of
river, those of the modules that factories were allowed from, and a few plain containers.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import BuiltinFunctionType, FunctionType, MappingProxyType
from typing import Any

from bandits.errors import StateCodecError

RIVER = "river"

CONTAINERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "builtins": frozenset({"bool", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"}),
        "collections": frozenset({"Counter", "OrderedDict", "defaultdict", "deque"}),
        "random": frozenset({"Random"}),
        "numpy.random.mtrand": frozenset({"RandomState"}),
    }
)


def is_within(module: str, prefixes: Iterable[str]) -> bool:
    """Return whether ``module`` is one of ``prefixes``, or inside of one."""
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


class AllowedNames:
    """Finds classes and functions by module and qualified name, if they are on the list."""

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self._prefixes = (RIVER, *modules)
        self._found: dict[tuple[str, str], Any] = {}

    def name(self, thing: Any) -> tuple[str, str]:
        """Return the module and qualified name of a class or function.

        Raises ``StateCodecError`` if it is not on the list, or not to be found under its own name (a lambda, say).
        """
        module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(qualname, str):
            raise StateCodecError(f"{thing!r} has no name under which it could be found again")
        if self.find(module, qualname) is not thing:
            raise StateCodecError(f"{module}.{qualname} is not what is found under that name")
        return module, qualname

    def find(self, module: str, qualname: str) -> Any:
        """Return the class or function of that name.

        Raises ``StateCodecError`` if it is not on the list, or does not exist.
        """
        found = self._found.get((module, qualname))
        if found is None:
            found = self._found[module, qualname] = self._look_up(module, qualname)
        return found

    def _look_up(self, module: str, qualname: str) -> Any:
        full = f"{module}.{qualname}"
        listed = qualname in CONTAINERS.get(module, ())
        if not listed and not is_within(module, self._prefixes):
            raise StateCodecError(f"a stored model may not name {full}")
        try:
            found: Any = import_module(module)
            for part in qualname.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError):
            raise StateCodecError(f"a stored model names {full}, which does not exist here") from None
        # What a module has imported from elsewhere is not its own.
        named = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
        own = named == (module, qualname)
        if not isinstance(found, type | FunctionType | BuiltinFunctionType) or not (listed or own):
            raise StateCodecError(f"a stored model may not name {full}")
        return found
