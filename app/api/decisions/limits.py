"""A `limit` beyond what a placement shows: said in the answer, not cut silently."""

from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.model.entities import Placement


def limit_warnings(limit: int, placement: Placement | None) -> list[CatalogueWarning]:
    """Warn of a limit above the slots of a placement; ``None`` is one that there is not, which is refused elsewhere."""
    if placement is None or limit <= placement.slots:
        return []
    slots = f"{placement.slots} slot{'' if placement.slots == 1 else 's'}"
    message = f"is {limit}, but the placement has {slots}: no more offers are chosen"
    return [CatalogueWarning("limit", message, "raise the slots of the placement, or ask for fewer")]
