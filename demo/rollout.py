"""Policies beside the champion of the web: one in the shadow, which is evaluated, and one that decides for a share."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from demo.client import ApiClient, DemoError, Json
from demo.names import CANARY, REWARD_WINDOW_S, SHADOW, WEB
from demo.visitors import CONTEXTS

CANARY_SHARE = 0.1
GROUP_SHRINKAGE = 4
LIVE_TIMEOUT_S = 60.0
POLL_S = 0.2
# By then some seconds of visitors have closed reward windows, and are archived: others cannot be judged on.
EVALUATE_AFTER_S = 2 * REWARD_WINDOW_S + 2.0
EVALUATION: Json = {"policy": f"{SHADOW}@1", "placement": WEB, "start": "warm", "limit": 1000}


def specifications() -> tuple[Json, ...]:
    """List what is registered: the shadow, which does not start from propensities alone, and the canary."""
    pages = sorted({context["page"] for context in CONTEXTS[WEB]})
    habits = ("recency_days", "frequency_per_week", "spend_per_week")
    return (
        {
            "name": SHADOW,
            "algorithm": "logistic_thompson",
            "features": [
                *({"name": name, "kind": "numeric", "path": f"customer.{name}"} for name in habits),
                {"name": "page", "kind": "category", "path": "context.page", "values": pages},
                {"name": "known", "kind": "propensity"},
            ],
            "description": "looks at habits and at the page",
        },
        {
            "name": CANARY,
            "algorithm": "calibrated",
            "parameters": {"group_shrinkage": GROUP_SHRINKAGE},
            "description": "as the champion, and learns from all campaigns of a type together",
        },
    )


async def register(api: ApiClient) -> None:
    """Register both policies: they learn from then on, whether they decide or not. Raises DemoError."""
    for specification in specifications():
        await api.change("POST", "/v1/policies", specification)


async def stage(api: ApiClient, check: Callable[[], None]) -> None:
    """Give each its stage as soon as it may have it, calling `check` meanwhile. Raises DemoError, NextbestError."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + LIVE_TIMEOUT_S
    for name in (SHADOW, CANARY):
        while (state := await api.policy_state(name)) != "live":
            check()
            if clock() > deadline:
                raise DemoError(f"after {LIVE_TIMEOUT_S:.0f} s the policy {name} is not live but {state}")
            await asyncio.sleep(POLL_S)
    steps: tuple[Json, ...] = (
        {"policy": f"{SHADOW}@1", "stage": "shadow", "reason": "what would it choose?"},
        {"policy": f"{CANARY}@1", "stage": "shadow"},
        {"policy": f"{CANARY}@1", "stage": "canary", "share": CANARY_SHARE, "reason": "a first share"},
    )
    for step in steps:
        await api.change("POST", f"/v1/placements/{WEB}/policies", step)


async def ask_evaluation(api: ApiClient, stop: asyncio.Event) -> None:
    """Ask what the shadow would have earned, `EVALUATE_AFTER_S` after visitors began to come, unless `stop` is set.

    Raises DemoError if that is refused.
    """
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), EVALUATE_AFTER_S)
        return
    await api.change("POST", "/v1/evaluations", EVALUATION)
