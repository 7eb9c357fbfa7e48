"""Archiving that stands still is seen, and said with its reason."""

from typing import Any

from decisioning.log.store_watch import MAX_STILL_S, ArchiveWatch, note_failure
from decisioning.model.position import StreamPosition
from storage.errors import PostgresUnavailable
from storage.keys import ARCHIVER_FAILURE
from storage.redis import make_redis


class Stores:
    """What the log and the archive say."""

    def __init__(self) -> None:
        self.ended: dict[int, StreamPosition] = {}
        self.archived: dict[int, StreamPosition] | None = {}

    async def ends(self) -> dict[int, StreamPosition]:
        return dict(self.ended)

    async def positions(self) -> dict[int, StreamPosition]:
        if self.archived is None:
            raise PostgresUnavailable("gone")
        return dict(self.archived)


async def test_a_bucket_that_does_not_move_is_told_with_the_reason(redis_url: str) -> None:
    redis: Any = make_redis(redis_url)
    stores, now_s = Stores(), 0.0
    given: Any = stores
    watch = ArchiveWatch(given, given, redis, lambda: now_s)

    async def after(seconds: float) -> bool:
        nonlocal now_s
        now_s += seconds
        await watch.look()
        return watch.stands_still

    assert not await after(1000)
    stores.ended = {0: StreamPosition("5-0"), 1: StreamPosition("7-0")}
    assert not await after(1000)  # these have just been seen
    for at in range(1, 5):  # one bucket moves, slowly, and the other has stopped
        stores.archived = {0: StreamPosition(f"{at}-0")}
        assert await after(MAX_STILL_S / 3) is (at > 3)
    assert "is one running?" in watch.describe()
    stores.archived = None
    await note_failure(redis, PostgresUnavailable("postgres at secret-host said no"))
    assert await after(1)
    assert watch.describe() == f"nothing has been archived for {watch.still_s:.0f} s (PostgresUnavailable)"
    await redis.delete(ARCHIVER_FAILURE)
    stores.archived = dict(stores.ended)
    assert not await after(1)
    assert watch.describe() == ""
    assert not await after(1000)
    await redis.aclose()
