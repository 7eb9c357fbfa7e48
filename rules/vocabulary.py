"""The vocabulary: the attributes that rules may refer to, with their types and meanings."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal, get_args

from rules.errors import VocabularyError

AttributeType = Literal["string", "number", "int", "bool", "list", "timestamp"]
Classification = Literal["public", "internal", "personal", "sensitive"]
DECLARED_ROOTS = ("customer", "context", "offer")
"""The roots of what is declared as an attribute, and of the built-in ones."""
ROOTS = (*DECLARED_ROOTS, "events", "interests", "event")
"""All roots: of what events of a customer tell as well, and of the one event that a condition on events looks at."""
HISTORY = "history"
"""The root of what is asked of a customer's own history (``rules.history``); nobody declares attributes of it."""
PATH = re.compile(r"(customer|context|offer)(\.[A-Za-z_][A-Za-z0-9_]*){1,4}")
RESERVED = frozenset((
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop", "null",
    "package", "return", "true",
))  # fmt: skip
_DERIVED_PATH = re.compile(r"(events|interests|event)\.[A-Za-z_][A-Za-z0-9_]*")

Value = str | float | int | bool


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute: its path (``customer.age``), type, unit, allowed values (all if empty) and description.

    ``values_from``: what names the values in place of ``values``: the reasons of the catalogue.

    ``classification``: who may see its values.

    ``identifier``: customers are searched for by its value, such as a telephone number.

    ``list`` is a list of strings. A ``number`` is a double in CEL: compare it with ``3.0``, not with ``3``.
    """

    path: str
    type: AttributeType
    description: str = ""
    unit: str | None = None
    values: tuple[Value, ...] = ()
    values_from: Literal["reasons"] | None = None
    classification: Classification = "personal"
    identifier: bool = False


_OF_TYPE: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "list": (str,),
    "number": (float, int),
    "int": (int,),
    "bool": (bool,),
    "timestamp": (),
}

BUILT_IN = (
    Attribute("customer.customer_id", "string", "the customer's id"),
    Attribute("customer.known", "bool", "whether there is a record of the customer"),
    Attribute("customer.holdings", "list", "what the customer has"),
    Attribute("offer.offer_id", "string", "the offer's id"),
    Attribute("offer.group", "string", "the offer's group"),
    Attribute("offer.goal", "string", "the goal of its group", values=("acquire", "grow", "retain", "serve")),
    Attribute("context.channel", "string", "the placement's channel"),
    Attribute("context.placement", "string", "the placement that asks"),
)


@dataclass(frozen=True)
class Vocabulary:
    """All attributes by path, the built-in ones included."""

    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @classmethod
    def of(cls, attributes: Iterable[Attribute], derived: Iterable[Attribute] = ()) -> "Vocabulary":
        """Make the vocabulary of these attributes and the built-in ones.

        ``derived``: what events tell, ``events.<name>`` and ``interests.<name>``; nobody declares it as attributes.

        Raises ``VocabularyError`` for a name that CEL cannot refer to, an unknown type, a value of another type, or a
        name declared twice.
        """
        found: dict[str, Attribute] = {}
        for attribute in (*BUILT_IN, *attributes):
            _check(attribute)
            if attribute.path in found:
                raise VocabularyError(f"{attribute.path} is declared twice")
            found[attribute.path] = attribute
        for attribute in derived:
            _check(attribute, _DERIVED_PATH)
            found[attribute.path] = attribute
        # What has a value in CEL cannot have fields as well.
        for path in found:
            for part in range(2, path.count(".") + 1):
                shorter = ".".join(path.split(".")[:part])
                if shorter in found:
                    raise VocabularyError(f"{shorter} is an attribute, so {path} cannot be one below it")
        return cls(MappingProxyType(found))

    @classmethod
    def of_event(cls, attributes: Iterable[Attribute]) -> "Vocabulary":
        """Make the vocabulary of conditions on one event, of its properties: ``event.<name>``.

        Raises ``VocabularyError`` as ``of`` does.
        """
        found = {}
        for attribute in attributes:
            _check(attribute, _DERIVED_PATH)
            found[attribute.path] = attribute
        return cls(MappingProxyType(found))

    def like(self, path: str) -> str | None:
        """Find the declared path that ``path`` may have been meant to be."""
        near = get_close_matches(path, self.attributes, n=1, cutoff=0.75)
        return near[0] if near else None


def is_name(text: str) -> bool:
    """Return whether CEL can refer to a name below a root."""
    return PATH.fullmatch(f"customer.{text}") is not None and "." not in text and text not in RESERVED


def _check(attribute: Attribute, pattern: re.Pattern[str] = PATH) -> None:
    if not pattern.fullmatch(attribute.path):
        raise VocabularyError(
            f"{attribute.path!r} cannot be an attribute: write customer., context. or offer. and plain names"
        )
    for part in attribute.path.split("."):
        if part in RESERVED:
            raise VocabularyError(f"{attribute.path!r} cannot be an attribute: {part!r} is a word of CEL")
    if attribute.type not in get_args(AttributeType):
        raise VocabularyError(f"{attribute.path} has the unknown type {attribute.type!r}")
    for value in attribute.values:
        wanted = _OF_TYPE[attribute.type]
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise VocabularyError(
                f"{attribute.path} is a {attribute.type}, so {value!r} cannot be one of its values"
            )
