"""Turns of the autopilot's candidates, as changes of a deployment. Pure: a deployment in, the next one out."""

from dataclasses import replace

from bandits.policy import PolicyKey
from decisioning.errors import Conflict, Invalid
from decisioning.model.deployment import (
    Autopilot,
    AutopilotTurn,
    Canary,
    Deployment,
    champion_of,
    check_shares,
)
from decisioning.model.entities import Placement
from decisioning.rollout.stages import PARTS, stage_of, with_stage, without_canary


def with_autopilot(placement: Placement, deployment: Deployment, settings: Autopilot | None) -> Deployment:
    """Return the deployment with the autopilot on with these settings, or off (``None``).

    Where it is on, what it is trying out goes on with other settings; switched off, that is ended in the same change,
    and the champion stays. Raises ``Invalid`` if the share of its canary is not free, or it could never be promoted.
    """
    there = deployment.autopilot
    if settings is None:
        return replace(_without_own(placement, deployment), autopilot=None)
    check_free_share(placement, deployment, settings)
    if settings.min_days >= settings.max_days:
        raise Invalid("min_days", f"must be less than max_days ({settings.max_days:g})")
    if there is not None:
        settings = replace(settings, turn=there.turn, tried=there.tried)
    return replace(deployment, autopilot=settings)


def check_free_share(placement: Placement, deployment: Deployment, settings: Autopilot) -> None:
    """Raise ``Invalid`` unless the autopilot's canary could have its share."""
    canary = Canary("", settings.canary_share, 0)
    check_shares(placement, replace(deployment, canary=canary), "canary_share")


def with_shadow(placement: Placement, deployment: Deployment, key: str, now_ms: int) -> Deployment:
    """Return the deployment in which the turn of the policy ``key`` has begun: it is a shadow.

    Raises ``Conflict`` if it has a part already.
    """
    pilot = _pilot(deployment)
    stage = stage_of(placement, deployment, key)
    if stage in PARTS:
        raise Conflict(f"{key} is {stage} in {placement.placement_id!r} already")
    turn = AutopilotTurn(key, "shadow", now_ms, champion_of(placement, deployment))
    staged = with_stage(placement, deployment, key, "shadow", now_ms=now_ms)
    return replace(staged, autopilot=replace(pilot, turn=turn))


def with_canary(placement: Placement, deployment: Deployment, now_ms: int) -> Deployment:
    """Return the deployment in which the candidate decides for its share. Raises ``Conflict`` and ``Invalid``."""
    pilot, turn = _pilot(deployment), _turn(deployment)
    share = pilot.canary_share
    champion = champion_of(placement, deployment)
    staged = with_stage(placement, deployment, turn.policy, "canary", share=share, now_ms=now_ms)
    turn = AutopilotTurn(turn.policy, "canary", now_ms, champion, share)
    return replace(staged, autopilot=replace(pilot, turn=turn))


def with_winner(placement: Placement, deployment: Deployment, now_ms: int) -> Deployment:
    """Return the deployment in which the candidate is the champion, and its turn is over. Raises ``Conflict``."""
    turn = _turn(deployment)
    staged = with_stage(placement, deployment, turn.policy, "champion", now_ms=now_ms)
    return _with_turn_over(staged, turn, now_ms)


def with_end(placement: Placement, deployment: Deployment, now_ms: int) -> Deployment:
    """Return the deployment in which the turn is over: the candidate is out, unless people gave it a part."""
    return _with_turn_over(_without_own(placement, deployment), _turn(deployment), now_ms)


def has_own_shadow(deployment: Deployment, turn: AutopilotTurn) -> bool:
    """Return whether the candidate of a turn is the shadow that the autopilot made it."""
    return (
        turn.stage == "shadow"
        and turn.policy in deployment.shadows
        and deployment.since.get(turn.policy) == turn.since_ms
    )


def has_own_canary(deployment: Deployment, turn: AutopilotTurn) -> bool:
    """Return whether the candidate of a turn is the canary that the autopilot made it, with its share."""
    if turn.stage != "canary" or turn.share is None:
        return False
    return deployment.canary == Canary(turn.policy, turn.share, turn.since_ms)


def _without_own(placement: Placement, deployment: Deployment) -> Deployment:
    """Return the deployment without the shadow, or canary, of the autopilot."""
    turn = None if deployment.autopilot is None else deployment.autopilot.turn
    if turn is None:
        return deployment
    if has_own_canary(deployment, turn):
        return without_canary(deployment)
    if has_own_shadow(deployment, turn):
        return with_stage(placement, deployment, turn.policy, "retired", now_ms=turn.since_ms)
    return deployment


def _with_turn_over(deployment: Deployment, turn: AutopilotTurn, now_ms: int) -> Deployment:
    pilot = _pilot(deployment)
    tried = {**pilot.tried, PolicyKey(turn.policy).name: now_ms}
    return replace(deployment, autopilot=replace(pilot, turn=None, tried=tried))


def _pilot(deployment: Deployment) -> Autopilot:
    if deployment.autopilot is None:
        raise Conflict(f"the autopilot of {deployment.placement_id!r} is off")
    return deployment.autopilot


def _turn(deployment: Deployment) -> AutopilotTurn:
    turn = _pilot(deployment).turn
    if turn is None:
        raise Conflict(f"the autopilot of {deployment.placement_id!r} tries nothing out")
    return turn
