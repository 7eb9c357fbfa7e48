"""Merging visitors into the customers who they turn out to be.

An alias is noted in Postgres first: from then on it is true, and whatever is cut off in between is done by whoever
comes next, a repeated request or the worker. All steps may be repeated.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import Invalid
from decisioning.events.store_events import kept_ms
from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_events import MarkedEvents
from decisioning.merging.store_handover import Handover
from profiles.customer_id import checked_id
from profiles.events.fold import Increment, increments_of
from profiles.limits import VISITOR_PREFIX
from profiles.store_cache import ProfileCache
from storage.errors import Unavailable

FINISH_AFTER_S = 5.0
"""Longer than a server that takes over from another may be behind: what it does not know by then is told again."""
BATCH_SIZE = 100


@dataclass(frozen=True, slots=True)
class Merged:
    """A visitor is a customer, since ``merged_at``; ``fresh``: since this very request."""

    visitor: str
    customer_id: str
    merged_at: datetime
    fresh: bool


def visitor_id_of(sent: str) -> str:
    """Return the id of a visitor, with or without ``visitor:`` in front. Raises ``Invalid``."""
    visitor = sent if sent.startswith(VISITOR_PREFIX) else f"{VISITOR_PREFIX}{sent}"
    if visitor == VISITOR_PREFIX or ":" in visitor.removeprefix(VISITOR_PREFIX):
        raise Invalid(
            "visitor_id",
            "is not the id of a visitor: send 'visitor:' and what the page calls its 'visitor_id'; customers"
            " whom somebody has stored cannot be merged into each other",
        )
    return visitor


@dataclass(frozen=True, slots=True)
class MergeService:
    """Merges, and finishes what others began. ``catalogue``: its definitions say what events tell.

    ``profiles``: where they are cached.
    """

    aliases: AliasStore
    profiles: ProfileCache
    handover: Handover
    events: MarkedEvents
    catalogue: Callable[[], Catalogue]
    clock_ms: Callable[[], int]

    async def merge(self, customer_id: str, visitor_id: str, author: str) -> Merged:
        """Make a visitor part of a customer. When it returns, the next decision for either knows what both did.

        Raises ``Invalid``, ``Conflict``, ``ErasedCustomer``, and ``Unavailable``: then it may be half done, and is
        finished by the worker, or by a repeated call.
        """
        customer_id, visitor = checked_id(customer_id), visitor_id_of(checked_id(visitor_id))
        # The suppressions of the one become the other's.
        changed = {visitor, *await self.aliases.chain(customer_id)}
        async with self.profiles.changing(changed):
            alias, stands_for, fresh = await self.aliases.add(visitor, customer_id, author)
        if stands_for not in changed:  # merged meanwhile
            async with self.profiles.changing([stands_for]):
                pass
        await self.handover.redirect([(visitor, alias.customer_id, alias.household_id)], self.clock_ms())
        await self._hand_over(visitor)
        return Merged(visitor, stands_for, alias.merged_at, fresh)

    async def finish(self, older_s: float = FINISH_AFTER_S) -> int:
        """Finish merges older than so many seconds, and hand over what came since; returns how many there were.

        Raises ``Unavailable``, after all others, if one of them cannot be finished.
        """
        found = await self.aliases.unfinished(older_s, BATCH_SIZE)
        redirects = [(one.alias, one.customer_id, one.household_id) for one in found]
        await self.handover.redirect(redirects, self.clock_ms())
        done, failed = await _each([one.alias for one in found], self._finish)
        if done:
            await self.aliases.finish(done)
        waiting = await self.handover.waiting()
        _, failed_later = await _each(waiting, self.handover.hand_over_contacts)
        if error := failed or failed_later:
            raise error
        return len(found) + len(waiting)

    async def _finish(self, visitor: str) -> None:
        await self._hand_over(visitor)
        await self.handover.drop_events(visitor)

    async def _hand_over(self, visitor: str) -> None:
        definitions = self.catalogue().event_definitions

        async def find(alias: str, marks: Collection[bytes]) -> Sequence[Sequence[Increment]]:
            names = {alias, *(name for name, _ in await self.aliases.of(alias))}
            events = await self.events.find(names, marks, self.clock_ms())
            return [increments_of(definitions, event) for event in events]

        # Contacts first: limits must not be exceeded by what has happened already.
        await self.handover.hand_over_contacts(visitor)
        await self.handover.hand_over_events(
            visitor, definitions, kept_ms(definitions), self.clock_ms(), find
        )


async def _each(
    visitors: Sequence[str], step: Callable[[str], Awaitable[None]]
) -> tuple[list[str], Unavailable | None]:
    """Take a step for each of some visitors; returns for whom it was taken, and the last error of the others."""
    done, failed = [], None
    for visitor in visitors:
        try:
            await step(visitor)
        except Unavailable as error:
            failed = error
        else:
            done.append(visitor)
    return done, failed
