"""A replay begins at the last checkpoint of the arms before its decision, and finds the arms of a whole fold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from sqlalchemy import text

from bandits.state import ArmTable, encode_state
from decisioning.evaluation import replay_service
from decisioning.evaluation.model_replay_service import ReplayImpossible
from decisioning.evaluation.replay_service import arms_at, replay
from decisioning.learning.fold import fold_outcomes
from decisioning.log.checkpoints import Checkpoint
from decisioning.log.store_archive import Archiver, ArchiveReader
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.postgres import transaction
from tests.support.api import CHECKPOINT_OUTCOMES, Nextbest, decide, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = "calibrated@1"
DECISIONS = 40


async def rows(shop: Nextbest, query: str, **values: Any) -> Sequence[Any]:
    async with transaction(shop.api.state.engine) as connection:
        return (await connection.execute(text(query), values)).all()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def decided(shop: Nextbest) -> list[str]:
    """Decisions between outcomes, learned from in small steps: many epochs, and several checkpoints between them."""
    found = []
    for number in range(DECISIONS):
        answer = await decide(shop.api, f"customer-{number}")
        found.append(answer["decision_id"])
        if number % 2 and answer["offers"]:
            await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
        await shop.worker.learn()
        if number % 4 == 3:
            await shop.worker.archive()
    await shop.worker.drain()
    return found


async def test_decisions_on_both_sides_of_checkpoints_are_made_again_exactly(
    shop: Nextbest, decided: list[str]
) -> None:
    state = shop.api.state
    checkpoints = await rows(shop, "SELECT epoch FROM arm_checkpoints WHERE policy = :key", key=KEY)
    assert len(checkpoints) >= DECISIONS // CHECKPOINT_OUTCOMES // 2
    log = ArchiveReader(state.engine)
    replays = [await replay(name, log, state.catalogues, state.roster) for name in decided]
    assert [one.decision_id for one in replays if not one.identical] == []
    assert len({one.epoch for one in replays}) > len(checkpoints)


async def test_arms_from_a_checkpoint_are_those_of_a_whole_fold(shop: Nextbest, decided: list[str]) -> None:
    state = shop.api.state
    log, policy, spec = ArchiveReader(state.engine), state.roster[KEY], state.roster.spec(KEY)
    (last,) = await rows(shop, "SELECT max(epoch) AS epoch FROM folds WHERE policy = :key", key=KEY)
    first = last.epoch // 10**9 * 10**9
    for epoch in range(first + 1, last.epoch + 1):
        positions = await log.positions_at(KEY, epoch, await log.checkpoint(KEY, epoch))
        assert positions is not None
        whole = ArmTable(policy.width, epoch)
        async for outcomes in log.observations(positions):
            for field, delta in fold_outcomes(outcomes, spec, policy)[0].items():
                whole.add(field, delta)
        found = await arms_at(log, KEY, state.roster, epoch)
        assert isinstance(found, ArmTable)
        assert list(found.fields()) == list(whole.fields())


async def test_little_is_folded_and_few_folds_stay_as_rows(
    shop: Nextbest, decided: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = 0

    def counted(outcomes: Sequence[Outcome], *arguments: Any) -> Any:
        nonlocal folded
        folded += len(outcomes)
        return fold_outcomes(outcomes, *arguments)

    monkeypatch.setattr(replay_service, "fold_outcomes", counted)
    state = shop.api.state
    log = ArchiveReader(state.engine)
    await replay(decided[-1], log, state.catalogues, state.roster)
    assert folded <= 4 * CHECKPOINT_OUTCOMES
    query = (
        "SELECT count(*) FROM folds WHERE policy = :key AND epoch <"
        " (SELECT max(epoch) FROM arm_checkpoints WHERE policy = :key)"
    )
    assert (await rows(shop, query, key=KEY))[0][0] <= DECISIONS // CHECKPOINT_OUTCOMES * 8


async def test_an_epoch_that_never_was_is_refused(shop: Nextbest, decided: list[str]) -> None:
    log = ArchiveReader(shop.api.state.engine)
    (last,) = await rows(shop, "SELECT max(epoch) AS epoch FROM folds WHERE policy = :key", key=KEY)
    base = await log.checkpoint(KEY, last.epoch + 1)
    assert base is not None
    assert await log.positions_at(KEY, last.epoch + 1, base) is None


async def test_sums_of_periods_that_nobody_reads_go(shop: Nextbest, decided: list[str]) -> None:
    state = shop.api.state
    redis: Any = state.redis
    arms = state.keys.arms(KEY)
    await redis.hset(arms, "1:0", encode_state(np.ones(state.roster[KEY].width)))
    before = set(await redis.hkeys(arms))
    for number in range(CHECKPOINT_OUTCOMES):
        await decide(shop.api, f"later-{number}")
    await shop.worker.drain()
    assert before - set(await redis.hkeys(arms)) == {b"1:0"}


async def test_arms_that_are_not_those_of_the_archive_are_not_kept(
    shop: Nextbest, decided: list[str]
) -> None:
    """As where Redis came back without its last folds, and gave their epochs to others."""
    assert shop.settings.postgres_url is not None
    archiver, key = Archiver(shop.settings.postgres_url), "another@1"
    there, other = StreamPosition("5-0"), StreamPosition("4-0")
    try:
        await archiver.write_folds(key, [(1, 0, StreamPosition("1-0")), (2, 0, there)])
        for epoch, position, kept in ((2, other, 0), (3, there, 0), (2, there, 1)):
            await archiver.write_checkpoint(key, Checkpoint(epoch, {0: position}, {}))
            found = await rows(shop, "SELECT epoch FROM arm_checkpoints WHERE policy = :key", key=key)
            assert len(found) == kept
    finally:
        await archiver.close()


async def test_folds_that_are_too_many_to_pack_stay_and_replays_find_them(
    shop: Nextbest, decided: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("decisioning.log.store_archiver.MAX_PACKED", 1)
    found = []
    for number in range(2 * CHECKPOINT_OUTCOMES):
        found.append((await decide(shop.api, f"many-{number}"))["decision_id"])
        await shop.worker.learn()
    await shop.worker.drain()
    state = shop.api.state
    (last,) = await rows(shop, "SELECT max(epoch) AS at FROM arm_checkpoints WHERE policy = :key", key=KEY)
    (behind,) = await rows(
        shop, "SELECT count(*) AS n FROM folds WHERE policy = :key AND epoch < :at", key=KEY, at=last.at
    )
    assert behind.n > 1
    log = ArchiveReader(state.engine)
    assert all([(await replay(name, log, state.catalogues, state.roster)).identical for name in found])


async def test_a_checkpoint_that_cannot_be_read_is_said(shop: Nextbest, decided: list[str]) -> None:
    await rows(shop, "UPDATE arm_checkpoints SET arms = '\\xff' WHERE policy = :key RETURNING 1", key=KEY)
    state = shop.api.state
    with pytest.raises(ReplayImpossible, match="a checkpoint cannot be read here"):
        await replay(decided[-1], ArchiveReader(state.engine), state.catalogues, state.roster)
