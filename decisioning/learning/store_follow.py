"""The follower of policies' arms: loads them once, then applies the folds that learners push.

One task looks for the folds of all policies, with one read of Redis where it can: a look costs more than what it finds.
"""

import asyncio
import gc
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bandits.sequential_policy import MODEL_FIELD, is_sequential
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmChange, Arms, ArmStore
from storage.errors import RedisUnavailable
from storage.failures import FailureLog
from storage.tasks import cancelled, pause

log = logging.getLogger(__name__)

RETRY_S = 0.1
BLOCK_MS = 100
"""The longest wait of a look: a policy whose arms were just loaded joins with the next one."""
CHECK_S = 1.0
"""After so long without folds it is looked whether arms are still what they were."""
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


@dataclass(slots=True)
class _Followed:
    """A policy whose folds are read. ``lost``: tells its task that one is missing, or why it cannot be read.

    ``heard_s``: when there were some, or it was looked whether its arms are still what they were; ``due_s``: when there
    may be more. Times are the event loop's seconds.
    """

    lost: "asyncio.Future[None]"
    heard_s: float
    due_s: float


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
        self._followed: dict[str, _Followed] = {}
        self._reader: asyncio.Task[None] | None = None

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
        """Have folds applied in order; returns when one is missing and the arms must be loaded again.

        Raises what kept them from being read or applied.
        """
        if cancelled():
            return  # the request got lost while arms were loaded, and does not come again
        loop = asyncio.get_running_loop()
        mine = self._followed[key] = _Followed(loop.create_future(), loop.time(), loop.time())
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read())
        try:
            await mine.lost
        finally:
            if self._followed.get(key) is mine:  # not that of a task that follows it anew
                del self._followed[key]
            if not self._followed and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def _read(self) -> None:
        """Read and apply the folds of all policies that are followed, for as long as there are any."""
        try:
            while not cancelled() and self._waiting():
                epochs, rest_s = self._due()
                if not epochs:
                    await pause(rest_s)
                    continue
                block_ms = math.ceil(min(rest_s * 1000, BLOCK_MS))
                found = await self._arms.changes(epochs, count=MAX_CHANGES, block_ms=block_ms)
                if cancelled():
                    return  # another one may read by now
                for key, changes in found.items():
                    self._apply(key, changes)
                await self._check_silent()
        except Exception as error:
            if cancelled():
                return  # a driver's answer to that
            for _, followed in self._waiting():
                followed.lost.set_exception(error)

    def _waiting(self) -> list[tuple[str, _Followed]]:
        return [(key, followed) for key, followed in self._followed.items() if not followed.lost.done()]

    def _due(self) -> tuple[dict[str, int], float]:
        """Return the epochs of the policies whose folds may be read, and how long the next one of the others rests.

        Those whose arms are gone are told so.
        """
        now_s, epochs, rest_s = asyncio.get_running_loop().time(), dict[str, int](), math.inf
        for key, followed in self._waiting():
            table = self._replica.table(key)
            if table is None:
                followed.lost.set_result(None)
            elif followed.due_s > now_s:
                rest_s = min(rest_s, followed.due_s - now_s)
            else:
                epochs[key] = table.epoch
        return epochs, rest_s if epochs or rest_s < math.inf else 0.0

    def _apply(self, key: str, changes: Iterable[ArmChange]) -> None:
        followed = self._followed.get(key)
        if followed is None or followed.lost.done():
            return
        followed.heard_s = asyncio.get_running_loop().time()
        followed.due_s = followed.heard_s + CHANGES_INTERVAL_S
        try:
            for change in changes:
                if change.reset or not self._replica.apply(key, change.epoch, change.fields.items()):
                    followed.lost.set_result(None)
                    return
        except Exception as error:  # of this policy alone
            followed.lost.set_exception(error)

    async def _check_silent(self) -> None:
        """Look whether arms of which nothing was heard for long were emptied, and are not what they were."""
        now_s = asyncio.get_running_loop().time()
        for key, followed in self._waiting():
            if now_s >= followed.heard_s + CHECK_S:
                followed.heard_s = now_s
                epoch, table = await self._arms.load_epoch(key), self._replica.table(key)
                if (table is None or epoch != table.epoch) and not followed.lost.done():
                    followed.lost.set_result(None)
