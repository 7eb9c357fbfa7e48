"""Changes of stages: read, changed and published, on top of what somebody else may have published meanwhile."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from decisioning.catalog.kinds import DEPLOYMENT, PLACEMENT
from decisioning.catalog.store import ANY_VERSION, CatalogueStore
from decisioning.errors import Conflict, Invalid, NotFound, PreconditionFailed
from decisioning.model.deployment import Canary, ControlGroup, Deployment, Guardrails
from decisioning.model.entities import Placement
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_rows import PolicyState, RegisteredPolicy
from decisioning.rollout.service import (
    MAX_ATTEMPTS,
    RolloutService,
    check_share,
    policies_of,
    progress_text,
)

NOW_MS = 1_800_000_000_000
HOME = Placement("home", "web", policy="thompson", control_share=0.1)
Put = tuple[str, Mapping[str, Any], str, str, int]


class Stores:
    """The placement ``home`` with its deployment, and the policies ``new@1`` and ``old@1``."""

    def __init__(
        self, deployment: Deployment | None = None, state: PolicyState = "live", faster: int = 0
    ) -> None:
        self.deployment = deployment
        self.version = 0 if deployment is None else 4
        self.state = state
        self.faster = faster
        self.puts: list[Put] = []

    async def newest(self, kind: str, name: str) -> tuple[int, Mapping[str, Any]]:
        if name != "home":
            raise NotFound(kind, name)
        if kind == "placement":
            return 1, PLACEMENT.dump(HOME)
        if self.deployment is None:
            raise NotFound(kind, name)
        return self.version, DEPLOYMENT.dump(self.deployment)

    async def put(
        self, kind: str, name: str, body: Mapping[str, Any], author: str, reason: str, expected: int
    ) -> Put:
        assert kind == "deployment"
        if self.faster:
            self.faster -= 1
            self.version += 1
            self.deployment = replace(self.deployment or Deployment(name), shadows=(f"other@{self.version}",))
        if expected != self.version:
            raise PreconditionFailed("somebody was faster")
        self.deployment = DEPLOYMENT.load(name, body)
        self.puts.append((name, body, author, reason, expected))
        return self.puts[-1]

    async def get(self, key: str) -> RegisteredPolicy:
        if key not in ("new@1", "old@1"):
            raise NotFound("policy", key)
        return registered(key, self.state)

    async def states(self) -> dict[str, PolicyState]:
        return {"new@1": self.state, "old@1": self.state}


def registered(key: str, state: PolicyState, body: Mapping[str, Any] | None = None) -> RegisteredPolicy:
    """A registered policy in a state."""
    name, _, version = key.partition("@")
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return RegisteredPolicy(
        name, int(version), body or {}, "ann", "", at, None, state, 3, 8, None, None, "no disk", ()
    )


def service(stores: Stores, expected: int | None = None) -> RolloutService:
    """The service in the name of ann."""
    return RolloutService(
        cast(CatalogueStore, stores), cast(PolicyStore, stores), lambda: NOW_MS, "ann", "why not", expected
    )


async def test_the_first_change_makes_a_deployment_with_author_and_reason() -> None:
    stores = Stores()
    published: Any = await service(stores).stage("home", "new@1", "canary", share=0.2, force=True)
    assert published == stores.puts[0]
    name, body, *how = stores.puts[0]
    assert (name, how) == ("home", ["ann", "why not", 0])
    assert body["canary"] == {"policy": "new@1", "share": 0.2, "since_ms": NOW_MS}


async def test_what_changes_nothing_publishes_nothing() -> None:
    stores = Stores(Deployment("home", apprentice=True))
    assert await service(stores).set_apprentice("home", True) is None
    assert await service(stores).set_guardrails("home", Guardrails()) is None
    assert stores.puts == []
    await service(stores).set_apprentice("home", False)
    await service(stores).set_guardrails("home", Guardrails(margin=0.5))
    await service(stores).set_controls("home", iter([ControlGroup("random", 0.05)]))
    assert stores.deployment == Deployment(
        "home", controls=(ControlGroup("random", 0.05),), guardrails=Guardrails(margin=0.5)
    )


async def test_a_change_is_made_again_of_what_somebody_faster_published() -> None:
    stores = Stores(Deployment("home"), faster=MAX_ATTEMPTS - 1)
    await service(stores).set_apprentice("home", True)
    assert stores.deployment == Deployment(
        "home", apprentice=True, shadows=(f"other@{4 + MAX_ATTEMPTS - 1}",)
    )
    stores = Stores(Deployment("home"), faster=MAX_ATTEMPTS)
    with pytest.raises(PreconditionFailed):
        await service(stores).set_apprentice("home", True)
    assert stores.puts == []


async def test_who_named_a_version_is_told_that_somebody_was_faster() -> None:
    stores = Stores(Deployment("home"), faster=1)
    with pytest.raises(PreconditionFailed, match="somebody was faster"):
        await service(stores, expected=4).set_apprentice("home", True)


@pytest.mark.parametrize(
    ("deployment", "expected", "fits"),
    [
        (Deployment("home"), 4, True),
        (Deployment("home"), ANY_VERSION, True),
        (Deployment("home"), 0, False),
        (Deployment("home"), 3, False),
        (None, 0, True),
        (None, ANY_VERSION, False),
        (None, 1, False),
    ],
)
async def test_the_version_that_was_seen(deployment: Deployment | None, expected: int, fits: bool) -> None:
    stores = Stores(deployment)
    change = service(stores, expected).set_apprentice("home", True)
    if fits:
        assert await change is not None
        return
    with pytest.raises(PreconditionFailed, match=f"are at version {stores.version}, not at {expected}"):
        await change


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("registered", "is a worker running"),
        ("folding", "has read 3 of 8 outcomes"),
        ("failed", "tried again: no disk"),
        ("retired", "revive it first"),
    ],
)
async def test_only_who_is_warm_may_decide(state: PolicyState, words: str) -> None:
    stores = Stores(state=state)
    for stage in ("canary", "champion"):
        with pytest.raises(Conflict, match=words):
            await service(stores).stage("home", "new@1", stage, force=True)
    if state != "retired":
        await service(stores).stage("home", "new@1", "shadow")
        assert progress_text(registered("new@1", state)).partition(" ")[0] in ("it", "its")
    assert progress_text(registered("new@1", "live")) == "it is live"


async def test_built_in_policies_need_no_registration_and_strangers_are_not_staged() -> None:
    stores = Stores()
    await service(stores).stage("home", "random@1", "champion", force=True)
    assert stores.deployment is not None
    assert stores.deployment.champion == "random@1"
    with pytest.raises(NotFound, match="stranger@1"):
        await service(stores).stage("home", "stranger@1", "shadow")
    with pytest.raises(NotFound, match="desk"):
        await service(stores).set_apprentice("desk", True)


async def test_a_rollback_skips_champions_that_cannot_decide_any_more() -> None:
    def before(*keys: str) -> Deployment:
        return Deployment("home", "new@1", before=keys, was=keys)

    for state, champion in (("live", "old@1"), ("retired", "random@1")):
        stores = Stores(before("old@1", "random@1"), state=cast(PolicyState, state))
        await service(stores).roll_back("home")
        assert stores.deployment is not None
        assert stores.deployment.champion == champion


@pytest.mark.parametrize("share", [0.0, -0.1, 1.0001, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(Invalid, match="above 0") as caught:
        check_share(share)
    assert caught.value.field == "share"


def test_shares_that_are() -> None:
    for share in (None, 1e-9, 1, 1.0):
        check_share(share)


def test_policies_are_listed_by_their_stage() -> None:
    deployment = Deployment("home", "z@1", Canary("y@1", 0.1, 0), shadows=("x@1",), was=("w@1",))
    others = {
        "b@1": registered("b@1", "live"),
        "a@1": registered("a@1", "folding", {"placements": ["home", "desk"]}),
        "elsewhere@1": registered("elsewhere@1", "live", {"placements": ["desk"]}),
        "gone@1": registered("gone@1", "retired"),
    }
    assert policies_of(HOME, deployment, others) == ["z@1", "y@1", "x@1", "w@1", "a@1", "b@1"]
    assert policies_of(HOME, Deployment("home"), {}) == ["thompson@1"]
