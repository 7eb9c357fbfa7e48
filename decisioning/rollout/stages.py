"""The stages of policies in a placement, and the steps between them. Pure: a deployment in, the next one out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import dropwhile

from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import Conflict, Invalid
from decisioning.model.deployment import Canary, ControlGroup, Deployment, Stage, champion_of, check_shares
from decisioning.model.entities import Placement

DEFAULT_CANARY_SHARE = 0.1
"""Of the customers."""
MAX_REMEMBERED = 20
"""Policies of the past that a deployment names."""
NEXT: Mapping[Stage, tuple[Stage, ...]] = {
    "registered": ("shadow",),
    "shadow": ("canary", "retired"),
    "canary": ("canary", "champion", "shadow", "retired"),
    "champion": (),
    "retired": ("shadow",),
}
"""The stages that may follow on a stage. With force, also a canary or the champion at once."""
PARTS: tuple[Stage, ...] = ("shadow", "canary", "champion")


def stage_of(placement: Placement, deployment: Deployment, key: str) -> Stage:
    """Find the stage of a policy in a placement."""
    if key == champion_of(placement, deployment):
        return "champion"
    if deployment.canary is not None and deployment.canary.policy == key:
        return "canary"
    if key in deployment.shadows:
        return "shadow"
    return "retired" if key in deployment.was else "registered"


def parts_of(catalogue: Catalogue, key: str) -> list[tuple[str, Stage]]:
    """List the placements in which a policy has a part, with its stage there."""
    stages = (
        (placement_id, stage_of(placement, catalogue.deployment(placement_id), key))
        for placement_id, placement in sorted(catalogue.placements.items())
    )
    return [(placement_id, stage) for placement_id, stage in stages if stage in PARTS]


def with_stage(
    placement: Placement,
    deployment: Deployment,
    key: str,
    stage: Stage,
    *,
    share: float | None = None,
    now_ms: int,
    force: bool = False,
) -> Deployment:
    """Return the deployment in which a policy has a stage; the same if it has it already.

    Raises ``Conflict`` if it cannot have that stage now; the message says what is possible; ``Invalid`` if the share is
    not one that is free.
    """
    now = stage_of(placement, deployment, key)
    if share is not None and stage != "canary":
        raise Invalid("share", "only a canary has a share")
    if stage == now != "canary":  # a canary may get another share
        return deployment
    _check_step(key, now, stage, force)
    kept = replace(deployment, shadows=_without(key, deployment.shadows))
    if stage == "canary":
        return _with_canary(placement, kept, key, share, now_ms)
    if now == "canary":
        kept = replace(kept, canary=None)
    if stage == "champion":
        return _with_champion(placement, kept, key, now_ms)
    if stage == "shadow":
        kept = replace(kept, shadows=(*kept.shadows, key))
        return replace(kept, since=_since(kept, key, now_ms))
    return replace(kept, was=_first(key, kept.was))


def step_back(
    placement: Placement, deployment: Deployment, now_ms: int, usable: Callable[[str], bool]
) -> Deployment:
    """Return the deployment one step back: without the canary if there is one, else with the champion before this one.

    Champions that are not ``usable`` any more are passed over. Raises ``Conflict`` if there is nothing to go back to.
    """
    if deployment.canary is not None:
        return without_canary(deployment)
    before = list(dropwhile(lambda key: not usable(key), deployment.before))
    if not before:
        raise Conflict(
            f"there is nothing to go back to in {placement.placement_id!r}: no canary, and no champion before this one"
        )
    champion, *rest = before
    back = replace(
        deployment,
        champion=champion,
        before=tuple(rest),
        was=_first(champion_of(placement, deployment), _without(champion, deployment.was)),
        shadows=_without(champion, deployment.shadows),
    )
    return replace(back, since=_since(back, champion, now_ms))


def without_canary(deployment: Deployment) -> Deployment:
    """Return the deployment without its canary, which is remembered as the last one."""
    if deployment.canary is None:
        return deployment
    return replace(deployment, canary=None, was=_first(deployment.canary.policy, deployment.was))


def with_controls(
    placement: Placement, deployment: Deployment, controls: Iterable[ControlGroup]
) -> Deployment:
    """Return the deployment with other standing control groups.

    Raises ``Invalid`` if shares are not free, or a kind is there twice.
    """
    changed = replace(deployment, controls=tuple(controls))
    kinds: set[str] = set()
    for i, control in enumerate(changed.controls):
        if control.kind in kinds:
            raise Invalid(f"controls[{i}].kind", f"{control.kind!r} is there twice")
        kinds.add(control.kind)
    check_shares(placement, changed, "controls")
    return changed


def _check_step(key: str, now: Stage, stage: Stage, force: bool) -> None:
    if now == "champion":
        raise Conflict(f"{key} is the champion and cannot become {stage}: promote another one, or roll back")
    if stage in NEXT[now] or (force and stage in ("canary", "champion")):
        return
    possible = ", ".join(NEXT[now]) or "none"
    hint = "; with force at once" if stage in ("canary", "champion") else ""
    raise Conflict(f"{key} is {now} here, so it cannot become {stage}; possible: {possible}{hint}")


def _with_canary(
    placement: Placement, deployment: Deployment, key: str, share: float | None, now_ms: int
) -> Deployment:
    there = deployment.canary
    if there is not None and there.policy != key:
        raise Conflict(
            f"{there.policy} is the canary here; promote it, roll it back, or make it a shadow before {key}"
        )
    default = DEFAULT_CANARY_SHARE if there is None else there.share
    # One that grows or shrinks stays the same canary, with the evidence against it.
    since_ms = now_ms if there is None else there.since_ms
    canary = Canary(key, default if share is None else share, since_ms)
    changed = replace(deployment, canary=canary, since=_since(deployment, key, since_ms))
    check_shares(placement, changed, "share")
    return changed


def _with_champion(placement: Placement, deployment: Deployment, key: str, now_ms: int) -> Deployment:
    old = champion_of(placement, deployment)
    changed = replace(
        deployment,
        champion=key,
        was=_first(old, _without(key, deployment.was)),
        before=_first(old, _without(key, deployment.before)),
    )
    return replace(changed, since=_since(changed, key, now_ms))


def _since(deployment: Deployment, key: str, now_ms: int) -> Mapping[str, int]:
    """Return ``since`` with a new entry for ``key``, without those of policies that have no part any more."""
    kept = {k: at_ms for k, at_ms in deployment.since.items() if k in deployment.policies}
    return kept | {key: now_ms}


def _first(key: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    return (key, *_without(key, keys))[:MAX_REMEMBERED]


def _without(key: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(k for k in keys if k != key)
