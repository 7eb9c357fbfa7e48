"""Canaries in the tests: deployments, the guard run by hand, and customers who answer at once."""

import time
from collections.abc import Callable
from random import Random
from typing import Any

from sqlalchemy import text

from app.worker.guardrail_watch import GuardrailWatch
from bandits.algorithms.static_policy import RandomPolicy
from bandits.policy import Candidates, FloatArray, PolicySpec
from decisioning.catalog.store import CatalogueStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.rollout.store_canary import CanaryStore
from decisioning.rollout.store_results import SLACK_MS
from storage import clock
from tests.support.api import POLICY_BUDGET_MS, Instance, Nextbest
from tests.support.waiting import eventually

GUARDRAILS = {"alpha": 0.05, "horizon_s": 60}


def guard_of(nextbest: Nextbest, ahead_s: float = 0.0) -> GuardrailWatch:
    """A guard whose clock is ``ahead_s`` (and a little) ahead, so that it does not have to wait."""
    state = nextbest.api.state
    return GuardrailWatch(
        CanaryStore(state.engine),
        CatalogueStore(state.engine),
        LogReader(state.redis, state.keys),
        ArchiveReader(state.engine),
        lambda: clock.now_ms() + SLACK_MS + round(ahead_s * 1000),
        1.0,
    )


async def place(api: Instance, placement: str, **more: Any) -> None:
    """A placement with one slot and no controls."""
    body = {"channel": "web", "slots": 1, "control_share": 0, "deadline_ms": 5000} | more
    await api.ok("PUT", f"/v1/placements/{placement}", json=body)


async def deploy(nextbest: Nextbest, placement: str, canary: str | dict[str, Any] | None, **more: Any) -> int:
    """Give a placement a canary (by default half of the customers, from now on); returns the version of it."""
    store = CatalogueStore(nextbest.api.state.engine)
    body: dict[str, Any] = {"champion": "thompson@1", "guardrails": GUARDRAILS}
    if isinstance(canary, str):
        canary = {"policy": canary, "share": 0.5, "since_ms": clock.now_ms()}
    body["canary"] = canary
    published = await store.put("deployment", placement, body | more, "tests")
    await in_force(nextbest.api, published.version)
    return published.version


async def in_force(api: Instance, version: int) -> None:
    """Wait until an instance has the catalogue of a version."""

    async def there() -> bool:
        return api.state.current_catalogue().version >= version

    await eventually(there, f"version {version} of the catalogue")


async def deployed(nextbest: Nextbest, placement: str) -> Any:
    """The deployment of a placement as it is stored: version, body."""
    return await nextbest.api.state.catalogues.newest("deployment", placement)


async def trail(nextbest: Nextbest, placement: str) -> Any:
    """The newest entry of a placement's deployment in the audit trail."""
    path = f"/v1/catalog?kind=deployment&id={placement}"
    return (await nextbest.api.ok("GET", path, role="scientist"))[0]


async def counted(nextbest: Nextbest, placement: str) -> Any:
    """The newest test of a placement."""
    return (await CanaryStore(nextbest.api.state.engine).tests(placement))[0]


class Crowd:
    """Customers who come once each, and accept or reject at once, as often as their policy's rate says."""

    def __init__(self, nextbest: Nextbest, placement: str, seed: int, **rates: float) -> None:
        self._nextbest = nextbest
        self._placement = placement
        self._random = Random(seed)
        self._rates = rates
        self._came = 0
        self.answers: list[Any] = []

    async def come(self, count: int, *, silent: bool = False) -> list[Any]:
        """So many more; returns what they were answered."""
        api, answers = self._nextbest.api, []
        for _ in range(count):
            self._came += 1
            body = {"customer_id": f"{self._placement}-{self._came}", "placement": self._placement}
            answer = await api.ok("POST", "/v1/decisions", json=body, role="frontend")
            answers.append(answer)
            liked = self._random.random() < self._rates[answer["policy"]["name"]]
            if not silent or liked:
                outcome = "accepted" if liked else "rejected"
                told = {"decision_id": answer["decision_id"], "offer_id": answer["offers"][0]["offer_id"]}
                await api.ok("POST", "/v1/feedback", json=told | {"outcome": outcome}, role="frontend")
        self.answers += answers
        await self._nextbest.worker.drain()
        return answers


class BadPolicy(RandomPolicy):
    """Scores and chooses at random, if at all. ``how`` is called before."""

    def __init__(self, spec: PolicySpec, how: Callable[[], None]) -> None:
        super().__init__(spec)
        self._how = how

    def propensities(self, prepared: Any, candidates: Candidates) -> FloatArray:
        """As ``random``, after what goes wrong."""
        self._how()
        return super().propensities(prepared, candidates)


async def add_bad_policy(nextbest: Nextbest, name: str, how: Callable[[], None] | None) -> None:
    """Register a policy whose algorithm no process has; but for this one, if it is told ``how`` it goes wrong."""
    state = nextbest.api.state
    if how is not None:
        spec = PolicySpec(name, 1, "random")
        state.roster.add([spec])
        state.roster._policies[spec.key] = BadPolicy(spec, how)
    stored = '{"name": "' + name + '", "version": 1, "algorithm": "none_such"}'
    async with state.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO policies (name, version, spec, author, state)"
                " VALUES (:name, 1, cast(:spec AS jsonb), 'tests', 'live') ON CONFLICT DO NOTHING"
            ),
            {"name": name, "spec": stored},
        )


def raises() -> None:
    """As a defect would."""
    raise RuntimeError("this policy cannot choose")


def dawdles() -> None:
    """Take longer than a policy may."""
    until_s = time.perf_counter() + 1.25 * POLICY_BUDGET_MS / 1000
    while time.perf_counter() < until_s:
        pass
