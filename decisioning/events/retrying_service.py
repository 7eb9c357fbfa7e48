"""What was set aside is processed again: records of the log are archived, events put back into their inbox.

Each counts once, however often that is asked for and by how many at once: the archive knows a record that it has, and
the intake an event by its id.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from decisioning.events.store_inbox import Inbox
from decisioning.log.store_archiver import Archiver
from decisioning.log.store_dead_letters import INBOX, DeadLetter, DeadLetters, Deed, read_again

MAX_TURNS = 100
TURN_PAUSE_S = 0.1

RetryStatus = Literal["archived", "put_back", "refused", "gone", "busy"]


@dataclass(frozen=True, slots=True)
class Retried:
    """The end of one attempt: ``archived``; ``put_back`` into the inbox, where a worker looks at it again; ``refused``.

    ``gone``: it is not set aside any more. ``busy``: the archiver was at work all the time.
    """

    letter: DeadLetter
    status: RetryStatus
    reason: str = ""

    @property
    def is_settled(self) -> bool:
        """True if it is not set aside any more."""
        return self.status in ("archived", "put_back", "gone")


@dataclass(frozen=True, slots=True)
class Retrying:
    """Processes again what was set aside. ``inbox``: ``None`` where there is none.

    Methods raise ``PostgresUnavailable`` and ``RedisUnavailable``: they may be repeated.
    """

    archiver: Archiver
    letters: DeadLetters
    inbox: Inbox | None

    async def retry_all(self, letters: Sequence[DeadLetter], deed: Deed) -> list[Retried]:
        """Process several again, one after the other, until one finds no turn to archive."""
        done: list[Retried] = []
        for letter in letters:
            done.append(await self.retry(letter, deed))
            if done[-1].status == "busy":
                break
        return done

    async def retry(self, letter: DeadLetter, deed: Deed) -> Retried:
        """Process one again."""
        if letter.bucket == INBOX:
            return await self._put_back(letter, deed)
        batch = read_again(letter)
        if isinstance(batch, str):
            return Retried(letter, "refused", batch)
        for _ in range(MAX_TURNS):
            async with self.archiver.turn() as positions:
                if positions is not None:  # a worker archives just now otherwise
                    refused = await self.archiver.write_again(batch, letter.bucket, letter.position, deed)
                    if refused is None:
                        return Retried(letter, "gone", "it is not set aside any more")
                    return Retried(letter, "refused" if refused else "archived", refused)
            await asyncio.sleep(TURN_PAUSE_S)
        return Retried(letter, "busy", "the archiver was at work all the time; try again")

    async def _put_back(self, letter: DeadLetter, deed: Deed) -> Retried:
        if self.inbox is None:
            return Retried(letter, "refused", "no worker would take it: set NEXTBEST_EVENT_STREAM")
        if await self.letters.move((letter.bucket, letter.position), self.inbox.put, deed):
            return Retried(letter, "put_back")
        return Retried(letter, "gone", "it is not set aside any more")
