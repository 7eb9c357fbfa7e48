"""Everything that is held on a person, for the person: record, propensities, lists, contacts and the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from decisioning.log.ports import DecisionLog
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
    offers: Mapping[int, str]

    async def page(
        self, customer_id: str, author: str, before: tuple[int, str] | None, limit: int
    ) -> dict[str, Any]:
        """Read a page: all but the log on the first one, and decisions, the newest first, on each.

        ``before``: Unix ms and id of the last decision of the page before. ``next`` is that for the page behind, or
        ``None``. Each call is noted in the trail. Raises ``InvalidCustomer`` and ``Unavailable``.
        """
        customer_id = checked_id(customer_id)
        found = await self.customer_log.page(customer_id, before, limit + 1)
        shown = found[:limit]
        answer: dict[str, Any] = {"customer_id": customer_id, "decisions": shown, "next": None}
        if len(found) > limit:
            answer["next"] = (to_ms(shown[-1]["decided_at"]), shown[-1]["decision_id"])
        if before is None:
            answer |= await self._beside_the_archive(customer_id, {one["decision_id"] for one in shown})
        await self.trail.note(
            "exported", customer_id, author, decisions=len(shown), first_page=before is None
        )
        return answer

    async def _beside_the_archive(self, customer_id: str, ids: set[str]) -> dict[str, Any]:
        reply = await self.decision_log.read(customer_id, True)
        held = await read_holdings(self.trail.engine, customer_id)
        held |= await self.customer_log.triggers(customer_id)
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
            "events": await self.customer_log.events(customer_id),
            "told_by_events": await self.customer_log.told(customer_id),
            "canary_tests": await self.customer_log.canary_tests(customer_id),
            "not_archived": [show_entry(e) for e in await self.customer_log.not_archived(customer_id, ids)],
            "set_aside": await self.customer_log.set_aside(customer_id, ids),
        }
