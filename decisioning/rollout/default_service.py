"""The default policy kept in step with the vocabulary: versions are registered, warmed up by others, put in place."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from bandits.features import Feature
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import Conflict, NotFound, PreconditionFailed
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_rows import RegisteredPolicy
from decisioning.rollout.defaults import (
    DEFAULT_NAME,
    awaits,
    default_spec,
    new_version_reason,
    superseded,
    uses_default,
)
from decisioning.rollout.service import RolloutService
from rules.vocabulary import Attribute

log = logging.getLogger(__name__)

AUTHOR = "nextbest"
MAX_VERSIONS = 50
"""Versions of the default that are made by themselves, in the life of an installation."""
MIN_AGE_MS = 10 * 60_000
"""A version stays the newest for so long at least, so that a vocabulary that is being written makes one."""

Choose = Callable[[Iterable[Attribute]], Awaitable[tuple[Feature, ...]]]


@dataclass
class DefaultKeeper:
    """Makes versions of the default, and puts them in place. Any number may run.

    ``choose`` chooses features of the attributes of a vocabulary. A choice has to be made twice in a row before it
    counts.
    """

    catalogues: CatalogueStore
    policies: PolicyStore
    choose: Choose
    clock_ms: Callable[[], int]
    min_age_ms: int = MIN_AGE_MS
    _considered: str | None = field(default=None, init=False)

    async def look(self) -> None:
        """Register a version if one is needed, or put the newest in place. Raises ``PostgresUnavailable``."""
        catalogue = await self.catalogues.load()
        users = [
            p for p in catalogue.placements.values() if uses_default(p, catalogue.deployment(p.placement_id))
        ]
        if not users:
            return
        made = await self.policies.versions(DEFAULT_NAME)
        newest = made[-1] if made else None
        if newest is not None and newest.state == "live":
            await self._put_in_place(catalogue, newest)
            await self._retire_old(made)
        if newest is None or newest.state in ("live", "retired"):
            await self._register(catalogue, newest, len(made))

    async def _register(self, catalogue: Catalogue, newest: RegisteredPolicy | None, count: int) -> None:
        if count >= MAX_VERSIONS or (newest is not None and self._age_ms(newest) < self.min_age_ms):
            return
        chosen = await self.choose(catalogue.attributes.values())
        reason = new_version_reason(() if newest is None else newest.spec.features, chosen)
        considered, self._considered = self._considered, reason
        if reason is None or considered != reason:
            return
        made = await self.policies.register_default(
            default_spec(chosen), 1 if newest is None else newest.version, AUTHOR, reason
        )
        if made is not None:
            log.info("%s is registered: %s", made.key, reason)

    async def _put_in_place(self, catalogue: Catalogue, newest: RegisteredPolicy) -> None:
        reason = f"a new version of the default, warmed up from the log: {newest.reason}"
        stager = RolloutService(self.catalogues, self.policies, self.clock_ms, AUTHOR, reason)
        for placement_id, placement in sorted(catalogue.placements.items()):
            if not awaits(placement, catalogue.deployment(placement_id), newest.key):
                continue
            # Only what was read is changed: people who steer by hand are not overruled.
            version = catalogue.versions.get(("deployment", placement_id), 0)
            try:
                await stager.at(version).stage(placement_id, newest.key, "champion", force=True)
            except (Conflict, NotFound, PreconditionFailed) as error:
                log.info("%s is not put in place in %s: %s", newest.key, placement_id, error)
            else:
                log.info("%s decides in %s: %s", newest.key, placement_id, newest.reason)

    async def _retire_old(self, made: Iterable[RegisteredPolicy]) -> None:
        """Retire versions that none goes back to; learning costs time, though nothing is decided with it."""
        kept = {policy.key: policy for policy in made if policy.spec.auto and policy.state != "retired"}
        for key in superseded(list(kept)):
            try:
                await self.policies.retire(key, AUTHOR, "later versions of the default decide")
            except Conflict as error:
                log.debug("%s stays: %s", key, error)

    def _age_ms(self, policy: RegisteredPolicy) -> int:
        return self.clock_ms() - int(policy.created_at.timestamp() * 1000)
