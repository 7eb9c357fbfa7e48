"""The default policy kept in step with vocabulary and drift: versions are registered, and put in place once warm."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bandits.features import Feature
from bandits.policy import PolicySpec
from bandits.sums import OfferGroups
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import Conflict, NotFound, PreconditionFailed
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_rows import RegisteredPolicy
from decisioning.rollout.defaults import (
    DEFAULT_NAME,
    awaits,
    count_vocabularies,
    default_spec,
    new_version_reason,
    superseded,
    uses_default,
)
from decisioning.rollout.forgetting import Forgetting, changes_of, forgetting_of, with_forgetting
from decisioning.rollout.service import RolloutService
from rules.vocabulary import Attribute
from storage.clock import DAY_MS
from storage.errors import Unavailable

log = logging.getLogger(__name__)

AUTHOR = "nextbest"
MAX_VERSIONS = 50
"""Versions of the default that are made by themselves for features, in the life of an installation."""
MAX_CHANGES = 365
"""Versions of the default that forget otherwise than the one before, in the life of an installation."""
MIN_AGE_MS = 10 * 60_000
"""A version stays the newest for so long at least, so that a vocabulary that is being written makes one."""
MIN_CHANGE_MS = DAY_MS
"""The time between two versions that forget otherwise."""
RETRY_MS = 10 * 60_000
"""The time to the next look after one for which a store was gone."""

Choose = Callable[[Iterable[Attribute]], Awaitable[tuple[Feature, ...]]]
FindForgetting = Callable[[PolicySpec, OfferGroups], Awaitable[tuple[Forgetting, str] | None]]


@dataclass
class DefaultKeeper:
    """Makes versions of the default, and puts them in place. Any number may run.

    ``choose`` chooses features of the attributes of a vocabulary. A choice has to be made twice in a row before it
    counts. ``find_forgetting`` tries on the log whether another way to forget than that of a version is clearly
    better, and says why; it is asked every ``forgetting_every_ms`` (0: never).
    """

    catalogues: CatalogueStore
    policies: PolicyStore
    choose: Choose
    clock_ms: Callable[[], int]
    min_age_ms: int = MIN_AGE_MS
    find_forgetting: FindForgetting | None = None
    forgetting_every_ms: int = 0
    min_change_ms: int = MIN_CHANGE_MS
    _considered: str | None = field(default=None, init=False)
    _forgetting_due_ms: int = field(default=0, init=False)

    async def look(self) -> None:
        """Register a version if one is needed, or put the newest in place.

        Raises ``PostgresUnavailable``, and what ``find_forgetting`` raises.
        """
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
        idle = newest is None or newest.state in ("live", "retired")
        if idle and await self._register(catalogue, newest, made):
            return
        if newest is None or newest.state == "live":
            await self._reconsider_forgetting(catalogue, newest, made)

    async def _register(
        self, catalogue: Catalogue, newest: RegisteredPolicy | None, made: Sequence[RegisteredPolicy]
    ) -> bool:
        """Register a version with other features if one is needed; returns whether one was asked for."""
        if newest is not None and self._age_ms(newest) < self.min_age_ms:
            return False
        if count_vocabularies([policy.spec for policy in made]) >= MAX_VERSIONS:
            return False
        chosen = await self.choose(catalogue.attributes.values())
        reason = new_version_reason(() if newest is None else newest.spec.features, chosen)
        considered, self._considered = self._considered, reason
        if reason is None or considered != reason:
            return False
        spec = default_spec(chosen)
        if newest is not None:
            spec = with_forgetting(spec, forgetting_of(newest.spec))
        await self._register_next(spec, newest, reason)
        return True

    async def _register_next(self, spec: PolicySpec, newest: RegisteredPolicy | None, reason: str) -> None:
        registered = await self.policies.register_default(
            spec, 1 if newest is None else newest.version, AUTHOR, reason
        )
        if registered is not None:
            log.info("%s is registered: %s", registered.key, reason)

    async def _reconsider_forgetting(
        self, catalogue: Catalogue, newest: RegisteredPolicy | None, made: Sequence[RegisteredPolicy]
    ) -> None:
        """Register a version that forgets otherwise, if that is clearly better on the log of late."""
        now_ms = self.clock_ms()
        if self.find_forgetting is None or not self.forgetting_every_ms or now_ms < self._forgetting_due_ms:
            return
        changes = changes_of([policy.spec for policy in made])
        if changes and self._age_ms(made[changes[-1]]) < self.min_change_ms:
            return
        if len(changes) >= MAX_CHANGES:
            return
        self._forgetting_due_ms = now_ms + self.forgetting_every_ms
        async with self.policies.lock_forgetting() as alone:
            # Of several workers that look at the same time one does; so they do the next time as well.
            if not alone:
                return
            spec = default_spec((), 1) if newest is None else newest.spec
            try:
                found = await self.find_forgetting(spec, catalogue.offer_groups)
            except Unavailable:
                self._forgetting_due_ms = now_ms + min(self.forgetting_every_ms, RETRY_MS)
                raise
            if found is not None:
                way, reason = found
                await self._register_next(with_forgetting(spec, way), newest, reason)

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
