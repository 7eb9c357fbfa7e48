"""The autopilots of all placements: each round takes at most one step in each of them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bandits.errors import BanditsError
from bandits.policy import PolicySpec
from bandits.registry import BUILT_IN
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import Conflict, Invalid, NotFound, PreconditionFailed
from decisioning.model.deployment import Autopilot, AutopilotTurn, Deployment, champion_of
from decisioning.model.entities import Placement
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_rows import RegisteredPolicy
from decisioning.rollout.autopilot import (
    CANDIDATES,
    PlacementSituation,
    Step,
    due_candidates,
    may_begin,
    next_step,
    serves_as,
)
from decisioning.rollout.autopilot_turns import with_canary, with_end, with_shadow, with_winner
from decisioning.rollout.default_service import AUTHOR, Choose
from decisioning.rollout.service import DeploymentChange, RolloutService
from decisioning.rollout.store_autopilot import AutopilotStore

log = logging.getLogger(__name__)

RETIRE_AFTER_MS = 10 * 60_000
"""A candidate that has a part nowhere is kept for so long: it may have been registered for a turn that begins now."""
_CHANGES = {"canary": with_canary, "promote": with_winner, "end": with_end}


@dataclass
class AutopilotService:
    """Moves candidates through their turns. Any number may run: a deployment changes only if it is as it was read."""

    catalogues: CatalogueStore
    policies: PolicyStore
    records: AutopilotStore
    choose: Choose
    clock_ms: Callable[[], int]
    retire_after_ms: int = RETIRE_AFTER_MS

    async def look(self) -> None:
        """Take at most one step in each placement. Raises ``PostgresUnavailable``."""
        catalogue = await self.catalogues.load()
        policies: dict[str, RegisteredPolicy] = {policy.key: policy for policy in await self.policies.all()}
        for placement_id, placement in sorted(catalogue.placements.items()):
            pilot = catalogue.deployment(placement_id).autopilot
            if pilot is not None:
                await self._advance(catalogue, placement, pilot, policies)
        await self._retire_candidates(catalogue, policies)

    async def _advance(
        self,
        catalogue: Catalogue,
        placement: Placement,
        pilot: Autopilot,
        policies: dict[str, RegisteredPolicy],
    ) -> None:
        placement_id = placement.placement_id
        deployment = catalogue.deployment(placement_id)
        if pilot.turn is None:
            situation = await self._idle(catalogue, placement, deployment, pilot, policies)
        else:
            situation = await self._under_way(placement, deployment, pilot.turn, policies)
        step = next_step(situation)
        if step is None:
            return
        version = catalogue.versions.get(("deployment", placement_id), 0)
        stager = RolloutService(
            self.catalogues, self.policies, self.clock_ms, AUTHOR, step.reason, expected=version
        )
        try:
            await stager.change(placement_id, await self._change_for(step))
        except (BanditsError, Conflict, Invalid, NotFound, PreconditionFailed) as error:
            # Mostly somebody was faster: the next round looks at what is there then.
            log.info("%s: the step is not taken: %s; %s", placement_id, step.reason, error)
        else:
            log.info("%s: %s", placement_id, step.reason)

    async def _change_for(self, step: Step) -> DeploymentChange:
        now_ms = self.clock_ms()
        if step.spec is not None:
            key = await self._register(step.spec, step.reason)
            return lambda placement, there: with_shadow(placement, there, key, now_ms)
        return partial(_changed, step.action, now_ms)

    async def _register(self, spec: PolicySpec, reason: str) -> str:
        """Register a candidate, unless its newest version serves: ranges that were seen move all the time."""
        versions = await self.policies.versions(spec.name)
        if versions and versions[-1].state != "retired" and serves_as(versions[-1].spec, spec):
            return versions[-1].key
        made, _ = await self.policies.register_next(spec, AUTHOR, reason)
        return made.key

    async def _idle(
        self,
        catalogue: Catalogue,
        placement: Placement,
        deployment: Deployment,
        pilot: Autopilot,
        policies: dict[str, RegisteredPolicy],
    ) -> PlacementSituation:
        now_ms = self.clock_ms()
        due = due_candidates(pilot, now_ms)
        specs: tuple[PolicySpec, ...] = ()
        if due and may_begin(placement, deployment):
            features = await self.choose(catalogue.attributes.values())
            specs = tuple(candidate.spec(features) for candidate in due)
        champion_spec = _spec_of(champion_of(placement, deployment), policies)
        return PlacementSituation(placement, deployment, now_ms, due=specs, champion_spec=champion_spec)

    async def _under_way(
        self,
        placement: Placement,
        deployment: Deployment,
        turn: AutopilotTurn,
        policies: dict[str, RegisteredPolicy],
    ) -> PlacementSituation:
        policy = policies.get(turn.policy)
        shadowed, failed = 0, 0
        if turn.stage == "shadow":
            shadowed, failed = await self.records.shadowed(placement.placement_id, turn)
        return PlacementSituation(
            placement,
            deployment,
            self.clock_ms(),
            state=None if policy is None else policy.state,
            shadowed=shadowed,
            failed=failed,
            counts=await self.records.counts(placement.placement_id, turn),
        )

    async def _retire_candidates(self, catalogue: Catalogue, policies: dict[str, RegisteredPolicy]) -> None:
        """Retire candidates that have no part any more, nor can be gone back to; people's revivals stand."""
        deployments = catalogue.deployments.values()
        kept = {key for there in deployments for key in (*there.policies, *there.before)}
        names = {candidate.name for candidate in CANDIDATES}
        oldest_ms = self.clock_ms() - self.retire_after_ms
        for key, policy in policies.items():
            if policy.name not in names or policy.author != AUTHOR or policy.state == "retired":
                continue
            if key in kept or policy.changes or policy.created_at.timestamp() * 1000 > oldest_ms:
                continue
            try:
                await self.policies.retire(key, AUTHOR, "its turns in the autopilot are over")
            except Conflict as error:
                log.debug("%s stays: %s", key, error)


def _changed(action: str, now_ms: int, placement: Placement, deployment: Deployment) -> Deployment:
    return _CHANGES[action](placement, deployment, now_ms)


def _spec_of(key: str, policies: dict[str, RegisteredPolicy]) -> PolicySpec | None:
    for spec in BUILT_IN:
        if spec.key == key:
            return spec
    try:
        return policies[key].spec
    except (KeyError, BanditsError):
        return None  # not known here: no candidate is taken for the same
