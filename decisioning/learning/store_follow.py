"""The follower of policies' arms: loads them once, then applies the folds that learners push."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bandits.sequential_policy import MODEL_FIELD, is_sequential
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import Arms, ArmStore
from storage.errors import RedisUnavailable
from storage.failures import FailureLog
from storage.tasks import cancelled

log = logging.getLogger(__name__)

RETRY_S = 0.1
BLOCK_MS = 1000
MAX_CHANGES = 500
CHANGES_INTERVAL_S = 0.008
"""Changes that come faster are taken together: each makes the next decision prepare offers anew."""
MIN_UNPACK_INTERVAL_S = 0.2
UNPACK_REST_FACTOR = 10.0
"""A model that takes long to unpack is left alone for so many times longer."""


class GarbageCollection:
    """Puts garbage collection off while many objects are made that stay: it would run again and again, to no use."""

    def __init__(self) -> None:
        self._put_off = 0

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Run no automatic collection until all who asked for this are done."""
        self._put_off += 1
        gc.disable()
        try:
            yield
        finally:
            self._put_off -= 1
            if not self._put_off:
                gc.enable()


garbage_collection = GarbageCollection()


class ArmFollower:
    """Keeps arms in a replica as fresh as the learners' folds.

    ``on_load`` is called whenever the arms of a policy have been read as a whole.
    """

    def __init__(
        self, arms: ArmStore, replica: ArmReplica, on_load: Callable[[], None] = lambda: None
    ) -> None:
        self._arms = arms
        self._replica = replica
        self._on_load = on_load
        self._rest_s: dict[str, float] = {}

    async def follow(self, key: str) -> None:
        """Keep one policy's arms fresh, until this task is cancelled; they leave the replica then."""
        what, failures = f"following the arms of {key}", FailureLog(log)
        try:
            while not cancelled():
                try:
                    arms = await self._arms.load(key)
                    if arms is None:
                        await asyncio.sleep(RETRY_S)
                        continue
                    await self._load(key, arms)
                    self._on_load()
                    failures.recovered(what)
                    await self._apply_changes(key)
                    await asyncio.sleep(self._rest_s.get(key, 0.0))
                except RedisUnavailable as error:
                    failures.note(what, "arms of %s are as of before: %s", key, error, error=error)
                    await asyncio.sleep(RETRY_S)
                except Exception as error:  # arms that stand still for ever would be worse
                    failures.note(
                        what,
                        "a defect: arms of %s are as of before",
                        key,
                        level=logging.ERROR,
                        error=error,
                        with_traceback=True,
                    )
                    await asyncio.sleep(RETRY_S)
        finally:
            self._replica.forget(key)

    async def _load(self, key: str, arms: Arms) -> None:
        """Put arms, or a model, in the replica."""
        policy = self._replica.policies[key]
        if not is_sequential(policy):
            self._replica.load(key, arms.epoch, arms.fields.items())
            return
        # Unpacked in a thread, and not too often: requests go on meanwhile.
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        with garbage_collection.put_off():
            model = await asyncio.to_thread(policy.unpack, arms.fields[MODEL_FIELD])
        took_s = loop.time() - started_s
        self._replica.adopt(key, arms.epoch, model)
        self._rest_s[key] = max(MIN_UNPACK_INTERVAL_S, UNPACK_REST_FACTOR * took_s)

    async def _apply_changes(self, key: str) -> None:
        """Apply folds in order; returns when one is missing and the arms must be loaded again."""
        while not cancelled() and (table := self._replica.table(key)) is not None:
            changes = await self._arms.changes(key, table.epoch, count=MAX_CHANGES, block_ms=BLOCK_MS)
            if not changes and await self._arms.load_epoch(key) != table.epoch:
                return  # arms that were emptied, and are not what they were
            for change in changes:
                if change.reset or not self._replica.apply(key, change.epoch, change.fields.items()):
                    return
            if changes:
                await asyncio.sleep(CHANGES_INTERVAL_S)
