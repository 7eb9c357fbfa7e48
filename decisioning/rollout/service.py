"""Changes of the stages of policies: the deployment is read, changed, and published unless somebody was faster."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from decisioning.catalog.kinds import DEPLOYMENT, PLACEMENT
from decisioning.catalog.store import ANY_VERSION, CatalogueStore, Published
from decisioning.errors import Conflict, Invalid, NotFound, PreconditionFailed
from decisioning.model.deployment import (
    Autopilot,
    ControlGroup,
    Deployment,
    Guardrails,
    Stage,
    champion_of,
)
from decisioning.model.entities import Placement
from decisioning.policies.store import ALWAYS, PolicyStore
from decisioning.policies.store_rows import RegisteredPolicy
from decisioning.rollout.autopilot_turns import with_autopilot
from decisioning.rollout.stages import stage_of, step_back, with_controls, with_stage

DeploymentChange = Callable[[Placement, Deployment], Deployment]
MAX_ATTEMPTS = 5
_ORDER: tuple[Stage, ...] = ("champion", "canary", "shadow", "retired", "registered")


@dataclass(frozen=True, slots=True)
class RolloutService:
    """Changes deployments, as ``author`` for a ``reason``, which the audit trail keeps.

    All methods return what was published, ``None`` if nothing had to be changed. They raise ``NotFound`` for a
    placement that is not there, ``PreconditionFailed`` if the deployment is not at the version ``expected`` (0: there
    is none), and ``PostgresUnavailable``.
    """

    catalogues: CatalogueStore
    policies: PolicyStore
    clock_ms: Callable[[], int]
    author: str
    reason: str = ""
    expected: int | None = None

    def at(self, expected: int) -> "RolloutService":
        """Return the service that changes a deployment only at the version ``expected`` (0: where there is none)."""
        return replace(self, expected=expected)

    async def stage(
        self, placement_id: str, key: str, stage: Stage, *, share: float | None = None, force: bool = False
    ) -> Published | None:
        """Give a policy a stage. Raises ``Conflict`` and ``Invalid`` as ``with_stage``, and if it is not warm."""
        if key not in ALWAYS and stage != "retired":
            _check_ready(await self.policies.get(key), stage)
        check_share(share)
        now_ms = self.clock_ms()
        return await self.change(
            placement_id,
            lambda placement, there: with_stage(
                placement, there, key, stage, share=share, now_ms=now_ms, force=force
            ),
        )

    async def roll_back(self, placement_id: str) -> Published | None:
        """End the canary, or put the champion before this one back. Raises ``Conflict`` if there is neither."""
        states = await self.policies.states()
        now_ms = self.clock_ms()

        def usable(key: str) -> bool:
            return key in ALWAYS or states.get(key) == "live"

        return await self.change(
            placement_id, lambda placement, there: step_back(placement, there, now_ms, usable)
        )

    async def set_controls(self, placement_id: str, controls: Iterable[ControlGroup]) -> Published | None:
        """Set the standing control groups. Raises ``Invalid``."""
        groups = tuple(controls)
        return await self.change(
            placement_id, lambda placement, there: with_controls(placement, there, groups)
        )

    async def set_apprentice(self, placement_id: str, on: bool) -> Published | None:
        """Let the caller's own choice be the answer, or no longer."""
        return await self.change(placement_id, lambda _, there: replace(there, apprentice=on))

    async def set_guardrails(self, placement_id: str, guardrails: Guardrails) -> Published | None:
        """Set when a canary is rolled back by itself."""
        return await self.change(placement_id, lambda _, there: replace(there, guardrails=guardrails))

    async def set_autopilot(self, placement_id: str, settings: Autopilot | None) -> Published | None:
        """Switch the autopilot on, with these settings, or off (``None``), which ends what it is trying out.

        Raises ``Invalid`` if its canary's share is not free.
        """
        return await self.change(
            placement_id, lambda placement, there: with_autopilot(placement, there, settings)
        )

    async def change(self, placement_id: str, change: DeploymentChange) -> Published | None:
        """Publish what ``change`` makes of the placement's deployment. Raises what it raises."""
        for left in reversed(range(MAX_ATTEMPTS)):
            placement, deployment, version = await self._read(placement_id)
            self._check_version(placement_id, version)
            changed = change(placement, deployment)
            if changed == deployment:
                return None
            body = DEPLOYMENT.normalise(placement_id, DEPLOYMENT.dump(changed))
            try:
                return await self.catalogues.put(
                    "deployment", placement_id, body, self.author, self.reason, version
                )
            except PreconditionFailed:
                # Somebody was faster. Who named no version wants the change anyhow: it is made of what is there now.
                if self.expected is not None or not left:
                    raise
        raise AssertionError("unreachable")

    def _check_version(self, placement_id: str, version: int) -> None:
        matches = version > 0 if self.expected == ANY_VERSION else self.expected in (None, version)
        if not matches:
            raise PreconditionFailed(
                f"the policies of {placement_id!r} are at version {version}, not at {self.expected}"
            )

    async def _read(self, placement_id: str) -> tuple[Placement, Deployment, int]:
        """Read the placement, its deployment, and the deployment's version."""
        _, body = await self.catalogues.newest("placement", placement_id)
        placement = PLACEMENT.load(placement_id, body)
        try:
            version, body = await self.catalogues.newest("deployment", placement_id)
        except NotFound:
            return placement, Deployment(placement_id), 0
        return placement, DEPLOYMENT.load(placement_id, body), version


def policies_of(
    placement: Placement, deployment: Deployment, registered: Mapping[str, RegisteredPolicy]
) -> list[str]:
    """List the policies with a part in a placement, those that had one, and those that could have one, by stage."""
    here = placement.placement_id
    could = [
        key
        for key, policy in registered.items()
        if policy.state != "retired" and here in (policy.body.get("placements") or [here])
    ]
    keys = {champion_of(placement, deployment), *deployment.policies, *deployment.was, *could}
    return sorted(keys, key=lambda key: (_ORDER.index(stage_of(placement, deployment, key)), key))


def _check_ready(policy: RegisteredPolicy, stage: Stage) -> None:
    """Raise ``Conflict`` unless a registered policy may have a stage: who decides must be as warm as can be."""
    if policy.state == "retired":
        raise Conflict(f"{policy.key} is retired; revive it first")
    if stage in ("canary", "champion") and policy.state != "live":
        raise Conflict(f"{policy.key} cannot be {stage} yet: {progress_text(policy)}")


def progress_text(policy: RegisteredPolicy) -> str:
    """Say in words how far a policy's warm start is."""
    if policy.state == "registered":
        return "it waits for its warm start; is a worker running?"
    if policy.state == "folding":
        return f"its warm start has read {policy.folded} of {policy.total} outcomes"
    if policy.state == "failed":
        return f"its warm start failed and will be tried again: {policy.error}"
    return f"it is {policy.state}"


def check_share(share: float | None) -> None:
    """Raise ``Invalid`` unless a share is above 0, and at most 1."""
    if share is not None and not 0.0 < share <= 1.0:
        raise Invalid("share", "must be above 0, and at most 1")
