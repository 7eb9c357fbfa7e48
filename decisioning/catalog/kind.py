"""The descriptor of one kind of catalogue entries. Building, checking, files, diffs and routes are loops over these."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter

from decisioning.errors import Invalid
from rules.expression import Kind as ExpressionKind

T = TypeVar("T")
Entry = tuple[str, str, Mapping[str, Any] | None]
"""Kind, id, and body; no body means that the thing has been deleted."""
Sections = Mapping[str, Mapping[str, Any]]
"""The things of a catalogue by section and id."""


class ExpressionUse(NamedTuple):
    """An expression that a thing holds: its field, source, and the kind of its result.

    ``event``: the type of events whose properties it may refer to, as ``event.<property>``.
    """

    field: str
    source: str
    result: ExpressionKind = "condition"
    may_use_offer: bool = True
    may_use_context: bool = True
    event: str | None = None


TIMES: Mapping[str, str] = {"starts_ms": "starts_at", "ends_ms": "ends_at"}
"""Stored fields that hold times, and their names in files and requests."""


class Protective(NamedTuple):
    """A field that a replacement must not drop unnoticed, such as the rules of an offer.

    ``word`` confirms its removal; several fields may share one. ``keys``: where the field is a list of objects, an item
    is still there if another one is the same in all fields of any of these; without them, if another one is equal.
    """

    field: str
    word: str
    keys: tuple[tuple[str, ...], ...] = ()

    @property
    def shown(self) -> str:
        """The name of the field in files and requests."""
        return TIMES.get(self.field, self.field)


# Compared by identity: there is one descriptor of each kind, and what it holds cannot be hashed.
@dataclass(frozen=True, eq=False)
class Kind(Generic[T]):
    """One kind of catalogue entries.

    Parameters
    ----------
    name
        The name in stored entries, ids of operations and messages.
    section
        The key in files, the attribute of ``Catalogue`` and the path of routes.
    id_field
        The field of ``cls`` that holds the id; it is not a part of the stored body.
    cls
        The dataclass of a thing. Unknown fields are refused, also in the dataclasses inside of it.
    parent
        The kind in whose things these stand: ids are ``<id of the parent>/<own id>``.
    derived
        Fields of ``cls`` that are not in stored bodies either, with what stands for them where there is no catalogue.
    defaults
        Values of fields of ``cls`` without a default, for bodies that leave them out.
    in_files
        False for kinds that are managed apart from the catalogue: files leave them alone, and so do rollbacks.
    check
        Yields what is not right about a thing by itself, and each reference to what is not in the sections.
    expressions
        Yields the expressions of a thing; they are checked against the vocabulary.
    protective
        The fields that a replacement must not drop unnoticed.
    in_use
        Whether a thing is, or may again be, in use: one that is not may lose its protective fields unnoticed.
    is_over
        Whether a thing will never be in use again: what becomes so may lose them as well.
    """

    name: str
    section: str
    id_field: str
    cls: type[T]
    parent: str | None = None
    derived: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    in_files: bool = True
    check: Callable[[T, Sections], Iterable[Invalid]] | None = None
    expressions: Callable[[T], Iterable[ExpressionUse]] | None = None
    protective: tuple[Protective, ...] = ()
    in_use: Callable[[T], bool] = lambda thing: True
    is_over: Callable[[T], bool] = lambda thing: False
    adapter: TypeAdapter[T] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Before the adapter is made, which reads the configuration of each class once.
        _forbid_unknown_fields(self.cls)
        object.__setattr__(self, "adapter", TypeAdapter(self.cls))

    @property
    def _not_stored(self) -> set[str]:
        return {self.id_field, *self.derived}

    @property
    def body_fields(self) -> list[str]:
        """The names of the fields of a stored body."""
        return [f.name for f in fields(self.cls) if f.name not in self._not_stored]  # type: ignore[arg-type] # a dataclass

    def own_id(self, name: str) -> str:
        """Return the id without that of the parent."""
        return name if self.parent is None else name.partition("/")[2]

    def load(self, name: str, body: Mapping[str, Any], derived: Mapping[str, Any] | None = None) -> T:
        """Make a thing of its stored body. Raises ``pydantic.ValidationError`` if it is not of this shape."""
        # What comes from the catalogue wins over what a body may claim.
        values = {
            **self.defaults,
            **body,
            **self.derived,
            **(derived or {}),
            self.id_field: self.own_id(name),
        }
        return self.adapter.validate_python(values)

    def dump(self, thing: T) -> dict[str, Any]:
        """Return the body of a thing, with everything that has its default."""
        body: dict[str, Any] = self.adapter.dump_python(thing, exclude=self._not_stored)
        return body

    def sendable(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a body with everything that has its default, as plain JSON."""
        found: dict[str, Any] = self.adapter.dump_python(
            self.load(name, body), mode="json", exclude=self._not_stored
        )
        return found

    def normalise(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a body with everything that is not its default, as plain JSON: two that mean the same are equal.

        Raises ``pydantic.ValidationError`` if it is not of this shape.
        """
        found: dict[str, Any] = self.adapter.dump_python(
            self.load(name, body), mode="json", exclude=self._not_stored, exclude_defaults=True
        )
        return found


def _forbid_unknown_fields(cls: Any) -> None:
    """Make pydantic refuse unknown fields of a dataclass, and of all dataclasses inside of it."""
    setattr(cls, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010
    waiting = list(get_type_hints(cls).values())
    while waiting:
        hint = waiting.pop()
        waiting += get_args(hint)
        if isinstance(hint, type) and is_dataclass(hint) and "__pydantic_config__" not in vars(hint):
            _forbid_unknown_fields(hint)
