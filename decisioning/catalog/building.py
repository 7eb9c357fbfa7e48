"""A catalogue made of its entries."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kinds import CLASSES, ID_FIELDS, SECTIONS, Entry
from decisioning.errors import Invalid
from decisioning.model.entities import GOALS, Treatment


def build_catalogue(
    version: int,
    entries: Iterable[Entry],
    numbers: Mapping[str, int],
    versions: Mapping[tuple[str, str], int] | None = None,
) -> Catalogue:
    """Make a catalogue of its entries; those without a body are deleted. ``numbers``: offer ids to numbers.

    Raises
    ------
    Invalid
        If an entry is not of its kind's shape, or the catalogue as a whole is not right.
    """
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS.values()}
    deployments: dict[str, Any] = {}
    treatments: dict[str, list[Treatment]] = {}
    offers: list[tuple[str, Mapping[str, Any]]] = []
    levers: dict[str, float] = {}
    for kind, name, body in entries:
        if body is None:
            continue
        if kind == "offer":
            offers.append((name, body))
        elif kind == "treatment":
            offer_id, _, treatment_id = name.partition("/")
            treatments.setdefault(offer_id, []).append(_thing(kind, treatment_id, body))
        elif kind == "deployment":
            deployments[name] = _thing(kind, name, body)
        elif kind == "goal":
            levers[name] = _lever(name, body)
        else:
            parts[SECTIONS[kind]][name] = _thing(kind, name, body)
    for name, body in offers:
        own = tuple(sorted(treatments.get(name, []), key=lambda t: t.treatment_id))
        parts["offers"][name] = _thing("offer", name, {**body, "number": numbers[name], "treatments": own})
    return Catalogue(
        version=version, goal_levers=levers, deployments=deployments, versions=versions or {}, **parts
    )


def _lever(name: str, body: Mapping[str, Any]) -> float:
    lever = body.get("lever")
    if name not in GOALS or isinstance(lever, bool) or not isinstance(lever, int | float):
        raise Invalid(f"goal.{name}", f"a goal is one of {', '.join(GOALS)}, with a lever in percent")
    return float(lever)


def _thing(kind: str, name: str, body: Mapping[str, Any]) -> Any:
    try:
        return CLASSES[kind].validate_python({**body, ID_FIELDS[kind]: name})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join((kind, name, *(str(part) for part in first["loc"])))
        raise Invalid(field, str(first["msg"])) from None
