"""Signals that are remembered of a customer, lifted before they end."""

from collections.abc import Callable
from dataclasses import dataclass

from decisioning.catalog.catalogue import Catalogue
from decisioning.contact.signals import lasting_signals
from decisioning.contact.store_lifting import SignalLifter
from decisioning.errors import NotFound
from decisioning.log.ports import DecisionLog
from decisioning.merging.store_aliases import AliasStore
from profiles.customer_id import checked_id


@dataclass(frozen=True, slots=True)
class LiftingService:
    """Lifts what counts still. ``clock_ms`` gives Unix ms."""

    lifter: SignalLifter
    aliases: AliasStore
    decision_log: DecisionLog
    clock_ms: Callable[[], int]

    async def lift(
        self, catalogue: Catalogue, customer_id: str, signal_id: str, author: str, reason: str
    ) -> None:
        """Lift a signal; when it returns, the next decision goes by it only if it holds.

        Raises ``NotFound`` if nothing is remembered of it that counts still, ``InvalidCustomer``, ``ErasedCustomer``,
        and ``Unavailable``.
        """
        customer_id = (await self.aliases.chain(checked_id(customer_id)))[0]
        reading = await self.decision_log.read(customer_id, with_history=True)
        lasting = lasting_signals(catalogue.signals.values(), reading.history, self.clock_ms())
        if signal_id not in (name for name, _, _ in lasting):
            raise NotFound("remembered signal", signal_id)
        names = [customer_id, *(name for name, _ in await self.aliases.of(customer_id))]
        await self.lifter.lift(names, signal_id, author, reason, self.clock_ms())
