"""Keeps indexes for the attributes by which customers are searched for, as the catalogue declares them."""

from dataclasses import dataclass

from decisioning.catalog.store import CatalogueStore
from profiles.store_identifiers import IdentifierIndexes

INTERVAL_S = 5.0
AGAIN_S = 60.0
"""After what could not be made: for want of rights or space, which does not come at once."""


@dataclass
class IdentifierJob:
    """Any number may run: of several workers, one is at it at a time."""

    indexes: IdentifierIndexes
    catalogues: CatalogueStore

    async def round(self) -> float:
        """Make and remove what has to be; return how long to sleep. Raises ``PostgresUnavailable``."""
        done = await self.indexes.keep(await self.catalogues.identifiers())
        return INTERVAL_S if done else AGAIN_S
