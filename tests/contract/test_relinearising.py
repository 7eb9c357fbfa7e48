"""Imported history is learned as it was, and what was decided before that is still replayed bit for bit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from bandits.policy import Candidates
from bandits.state import ArmTable
from decisioning.evaluation.replay_service import replay
from decisioning.learning import store_warm_start as warming
from decisioning.learning.store_arms import GENERATION, Arms, ArmStore
from decisioning.learning.store_linearisation import (
    LinearisationRun,
    LinearisationStore,
    find_linearisation,
)
from decisioning.policies.store import PolicyStore
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from storage.postgres import transaction
from tests.support.api import CSV, Nextbest, decide, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "calibrated@1"
TRUTHS = {"gold": 0.5, "silver": 0.02}
ROWS = 400


async def arms_of(shop: Nextbest, key: str = KEY) -> Arms:
    arms = await ArmStore(shop.api.state.redis, shop.api.state.keys).load(key)
    assert arms is not None, f"{key} has no arms"
    return arms


async def estimates(shop: Nextbest, key: str = KEY) -> list[float]:
    """Expectations of the offers by the arms in Redis, for a customer without propensities."""
    state = shop.api.state
    policy, arms = state.roster[key], await arms_of(shop, key)
    table = ArmTable(policy.width)
    table.put_all(arms.fields.items())
    offers = np.array([state.current_catalogue().numbers[offer] for offer in TRUTHS], np.uint32)
    sums = table.read(policy, offers, policy.decay.tick(clock.now_ms() / 1000))
    unknown = Candidates(offers, np.full(len(TRUTHS), np.nan, np.float32), np.ones(len(TRUTHS)))
    found: list[float] = policy.propensities(policy.prepare(sums), unknown).tolist()
    return found


async def follow(shop: Nextbest, key: str = KEY) -> None:
    """Wait until the instance has the arms that are in Redis."""

    async def followed() -> bool:
        return shop.api.state.replica.epoch(key) == (await arms_of(shop, key)).epoch

    await eventually(followed, f"the instance to follow {key}")


async def import_history(shop: Nextbest, rows: int, first: int = 0) -> None:
    began = datetime.now(UTC) - timedelta(days=2)
    lines = ["customer_id,offer_id,decided_at,outcome"]
    for offer, truth in TRUTHS.items():
        for row in range(first, first + rows):
            outcome = "accepted" if int((row + 1) * truth) > int(row * truth) else "rejected"
            at = began + timedelta(seconds=row)
            lines.append(f"{offer}-{row},{offer},{at.isoformat()},{outcome}")
    answer = await shop.api.call("POST", "/v1/imports/history", content="\n".join(lines) + "\n", headers=CSV)
    assert answer.is_success, answer.text
    assert answer.json()["new"] == rows * len(TRUTHS)


async def decisions(shop: Nextbest, first: int, count: int = 5) -> list[tuple[str, str]]:
    made = []
    for number in range(first, first + count):
        answer = await decide(shop.api, f"customer-{number}", "linear")
        made.append((answer["decision_id"], answer["offers"][0]["offer_id"]))
    return made


async def check_replays(shop: Nextbest, decision_ids: list[str]) -> set[int]:
    """Replay decisions; returns the generations that they were made in."""
    state, generations = shop.api.state, set()
    for decision_id in decision_ids:
        again = await replay(decision_id, state.archive, state.catalogues, state.roster)
        assert (again.identical, again.policy) == (True, KEY)
        generations.add(again.epoch // GENERATION)
    return generations


async def rebuild(shop: Nextbest) -> None:
    state = shop.api.state
    await Rebuilder(
        state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
    ).rebuild()


async def test_history_is_learned_as_it_was_when_its_import_ends(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decisioning.rollout.store_results.SLACK_MS", -2000)  # no waiting for slow clocks
    place = {"channel": "web", "control_share": 0, "deadline_ms": 5000, "policy": "calibrated"}
    await shop.api.ok("PUT", "/v1/placements/linear", json=place)
    await shop.worker.drain()
    await follow(shop)
    before = await decisions(shop, 0)
    await shop.worker.drain()
    await import_history(shop, ROWS)
    await shop.worker.drain()
    await follow(shop)
    between = await decisions(shop, 10)
    await shop.worker.drain()
    await follow(shop)
    assert abs((await estimates(shop))[0] - TRUTHS["gold"]) > 0.05

    generation = (await arms_of(shop)).generation
    await shop.worker.relinearise()
    assert (await arms_of(shop)).generation == generation + 1
    assert await estimates(shop) == pytest.approx(list(TRUTHS.values()), abs=0.015)
    await shop.worker.drain()
    await follow(shop)

    # Shown before it, accepted behind it.
    for decision_id, offer_id in (*before, *between):
        await tell(shop.api, decision_id, offer_id, "accepted")
    await shop.worker.drain()
    await follow(shop)
    after = await decisions(shop, 20)
    await shop.worker.expire(ahead_s=8 * 86_400)
    await shop.worker.drain()
    generations = await check_replays(shop, [made for made, _ in (*before, *between, *after)])
    assert len(generations) == 2

    # Arms are the fold of the log that anybody can do again.
    fields = (await arms_of(shop)).fields
    await rebuild(shop)
    assert (await arms_of(shop)).fields == fields
    await shop.worker.drain()
    await check_replays(shop, [made for made, _ in (*before, *between, *after)])


async def test_nothing_is_done_where_nothing_changed(shop: Nextbest) -> None:
    before = (await arms_of(shop)).epoch
    await shop.worker.relinearise()
    assert (await arms_of(shop)).epoch == before


async def test_a_policy_that_comes_later_begins_with_it(shop: Nextbest) -> None:
    spec = {"algorithm": "logistic_thompson", "placements": ["history"]}
    await shop.api.ok("POST", "/v1/policies", json=spec | {"name": "later"})
    await shop.worker.warm()
    registered = await shop.api.state.policies.get("later@1")
    assert (registered.state, registered.folded) == ("live", registered.total)
    assert registered.total == ROWS * len(TRUTHS)
    assert await estimates(shop, "later@1") == pytest.approx(list(TRUTHS.values()), abs=0.015)
    fields = (await arms_of(shop, "later@1")).fields
    await rebuild(shop)
    assert (await arms_of(shop, "later@1")).fields == fields


async def test_once_a_day_what_has_learned_since_is_folded_anew(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, key = shop.api.state, "later@1"
    runs = LinearisationStore(state.engine)
    told: list[tuple[int, int]] = []

    async def tell_progress(self: PolicyStore, policy: str, folded: int, total: int) -> None:
        if policy == key:
            told.append((folded, total))
        await note_progress(self, policy, folded, total)

    note_progress = PolicyStore.note_progress
    monkeypatch.setattr(PolicyStore, "note_progress", tell_progress)
    monkeypatch.setattr(warming, "TELL_S", 0.0)

    async def a_day_passes() -> LinearisationRun:
        async with transaction(state.engine) as connection:
            query = "UPDATE linearisation_runs SET began_at = began_at - interval '1 day'"
            await connection.execute(text(query))
            await connection.execute(text("DELETE FROM history_imports"))  # no import is the occasion
        await shop.worker.relinearise()
        run = await runs.last_run(key)
        assert run is not None
        return run

    before = await runs.last_run(key)
    assert before is not None
    still = await a_day_passes()
    assert still.began_at < before.began_at
    assert told == []
    monkeypatch.setattr(
        "decisioning.rollout.store_results.SLACK_MS", 10**9
    )  # the import itself is no occasion
    await import_history(shop, 50, first=5_000)
    await shop.worker.drain()
    again = await a_day_passes()
    assert again.began_at > still.began_at
    assert again.outcomes == before.outcomes + 50 * len(TRUTHS)
    assert told[0] == (0, again.outcomes)
    assert told[-1] == (again.outcomes, again.outcomes)
    # Passes beyond the first are more to read.
    assert max(total for _, total in told) > again.outcomes
    assert all(0 <= folded <= total for folded, total in told)
    registered = await state.policies.get(key)
    assert (registered.state, registered.folded, registered.total) == ("live", again.outcomes, again.outcomes)


async def test_what_is_archived_and_trimmed_meanwhile_is_not_lost(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    relinearise_archive = warming.relinearise_archive
    lost: list[str] = []

    async def busy(*arguments: Any, **named: Any) -> Any:
        folded = await relinearise_archive(*arguments, **named)
        if not lost:
            for decision_id, offer_id in await decisions(shop, 40):
                await tell(shop.api, decision_id, offer_id, "accepted")
                lost.append(decision_id)
            await shop.worker.drain()
        return folded

    monkeypatch.setattr("decisioning.rollout.store_results.SLACK_MS", -2000)
    monkeypatch.setattr(warming, "relinearise_archive", busy)
    await import_history(shop, 100, first=10_000)
    await shop.worker.drain()
    generation = (await arms_of(shop)).generation
    await shop.worker.relinearise()
    assert lost
    assert (await arms_of(shop)).generation > generation
    await shop.worker.drain()
    fields = (await arms_of(shop)).fields
    await rebuild(shop)
    assert (await arms_of(shop)).fields == fields
    await check_replays(shop, lost)


async def test_a_generation_that_never_came_leaves_the_next_one_whole(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between noting the points and putting the arms in place."""
    state = shop.api.state
    monkeypatch.setattr("decisioning.rollout.store_results.SLACK_MS", -2000)
    await import_history(shop, 100, first=20_000)
    await shop.worker.drain()
    before = await arms_of(shop)

    async def killed(*arguments: Any, **named: Any) -> bool:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(ArmStore, "reset", killed)
        await shop.worker.relinearise()
    at = await find_linearisation(state.archive, KEY, state.roster[KEY], before.generation)
    newest = await find_linearisation(state.archive, KEY, state.roster[KEY])
    assert at is not None
    assert newest is not None
    assert newest.until_ms > at.until_ms
    made = await decisions(shop, 60)
    await shop.worker.drain()
    assert (await arms_of(shop)).generation == before.generation
    await rebuild(shop)
    await shop.worker.drain()
    await follow(shop)
    made += await decisions(shop, 70)
    await shop.worker.drain()
    assert len(await check_replays(shop, [decision_id for decision_id, _ in made])) == 2
