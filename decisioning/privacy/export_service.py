"""Everything that is held on a person, for the person: record, propensities, lists, contacts and the log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from decisioning.log.ports import DecisionLog
from decisioning.merging.store_aliases import AliasStore
from decisioning.privacy.entries import show_entry
from decisioning.privacy.store_customer_log import CustomerLog
from profiles.customer_id import checked_id
from profiles.privacy.store_actions import PrivacyTrail
from profiles.privacy.store_holdings import read_holdings
from storage.clock import to_datetime, to_ms

MAX_DECISIONS = 1000
"""Decisions on one page."""


@dataclass(frozen=True, slots=True)
class PersonExporter:
    """Reads what is held on a person. ``offers``: ids of offers by their numbers."""

    customer_log: CustomerLog
    decision_log: DecisionLog
    trail: PrivacyTrail
    aliases: AliasStore
    offers: Mapping[int, str]

    async def page(
        self, customer_id: str, author: str, before: tuple[int, str] | None, limit: int
    ) -> dict[str, Any]:
        """Read a page: all but the log on the first one, and decisions, the newest first, on each.

        ``before``: Unix ms and id of the last decision of the page before. ``next`` is that for the page behind, or
        ``None``. Each call is noted in the trail. Raises ``InvalidCustomer`` and ``Unavailable``.
        """
        customer_id = checked_id(customer_id)
        aliases = await self.aliases.of(customer_id)
        names = [customer_id, *(name for name, _ in aliases)]
        found = await self.customer_log.page(names, before, limit + 1)
        shown = found[:limit]
        answer: dict[str, Any] = {"customer_id": customer_id, "decisions": shown, "next": None}
        if len(found) > limit:
            answer["next"] = (to_ms(shown[-1]["decided_at"]), shown[-1]["decision_id"])
        if before is None:
            answer["aliases"] = [{"visitor_id": name, "merged_at": at} for name, at in aliases]
            answer |= await self._beside_the_archive(names, {one["decision_id"] for one in shown})
        await self.trail.note(
            "exported", customer_id, author, decisions=len(shown), first_page=before is None
        )
        return answer

    async def _beside_the_archive(self, names: Sequence[str], ids: set[str]) -> dict[str, Any]:
        """Read what is held beside archived decisions. ``names``: the customer, and then all aliases."""
        customer_id, log = names[0], self.customer_log
        reply = await self.decision_log.read(customer_id, True)
        held = await read_holdings(self.trail.engine, customer_id)
        triggers = [await log.triggers(name) for name in names]
        held |= {what: [one for found in triggers for one in found[what]] for what in triggers[0]}
        return held | {
            "contacts": [
                {
                    "offer_id": self.offers.get(contact.offer),
                    "group": contact.group,
                    "goal": contact.goal,
                    "kind": contact.kind,
                    "channel": contact.channel,
                    "at": to_datetime(contact.at_ms),
                }
                for contact in reply.history
            ],
            "events": [one for name in names for one in await log.events(name)],
            "told_by_events": await log.told(customer_id),
            "canary_tests": [one for name in names for one in await log.canary_tests(name)],
            "not_archived": [
                show_entry(entry) for name in names for entry in await log.not_archived(name, ids)
            ],
            "set_aside": [one for name in names for one in await log.set_aside(name, ids)],
        }
