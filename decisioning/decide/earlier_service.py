"""Answers that were given before under a caller's own id, which a request that is sent again gets once more."""

from decisioning.decide.context import DecisionContext
from decisioning.errors import Conflict
from decisioning.log.lookup_service import archived_answer, decision_of
from decisioning.log.owners import is_owner
from decisioning.log.ports import Archive, DecisionLog, ReadReply
from decisioning.model.decision import Decision
from decisioning.model.degraded import DegradedReason
from storage.errors import PostgresUnavailable, RedisUnavailable


class EarlierAnswers:
    """Finds the answer to an earlier request with the same own id, in Redis or in the archive."""

    def __init__(self, decision_log: DecisionLog, archive: Archive) -> None:
        self._log = decision_log
        self._archive = archive

    async def find(self, context: DecisionContext, reading: ReadReply) -> Decision | None:
        """Find the earlier answer; ``None`` if there is none. It leaves Redis a day after its reward window.

        Raises ``Conflict`` if the id was used for another placement or customer.
        """
        request = context.request
        earlier, owner = reading.earlier, reading.owner
        owners = (request.customer_id, reading.moved or request.customer_id)
        if owner is not None and not any(is_owner(owner, one, context.decision_id) for one in owners):
            earlier = await self._find_of_visitor(context, owners[1])
        elif earlier is None and (owner is not None or reading.here) and not reading.withdrawn:
            earlier = await self.find_archived(context, is_claimed=reading.here)
        if earlier is not None and earlier.placement != request.placement:
            raise Conflict(f"the decision id {context.decision_id!r} was used for another placement")
        return earlier

    async def _find_of_visitor(self, context: DecisionContext, customer_id: str) -> Decision | None:
        """Find the earlier answer under the caller's own id that a visitor got who is the customer by now.

        If it cannot be told whose it was: ``None``, degraded. Raises ``Conflict`` if it was somebody else's.
        """
        try:
            found = await decision_of(context.decision_id, self._log, self._archive)
            if found is not None and await self._log.resolve(found.customer_id) == customer_id:
                status, _ = await self._log.claim(found.customer_id, found.decision_id)
                if status == "here":
                    return found
                answer = await archived_answer(found.decision_id, self._archive)
                if answer is not None and status == "none":
                    return answer
        except (PostgresUnavailable, RedisUnavailable):
            context.degrade(DegradedReason.EARLIER_ANSWER_UNAVAILABLE)
            return None
        raise Conflict(f"the decision id {context.decision_id!r} was used for another customer")

    async def find_archived(self, context: DecisionContext, *, is_claimed: bool) -> Decision | None:
        """Find the earlier answer under the caller's own id in the archive; if that fails, degrade.

        ``is_claimed``: Redis has the decision, without its header, and it is not taken back any more.
        """
        try:
            earlier = await archived_answer(context.decision_id, self._archive)
            if earlier is not None and not is_claimed:
                return await self._claim(context.request.customer_id, earlier)
        except (PostgresUnavailable, RedisUnavailable):
            earlier, is_claimed = None, True
        if earlier is None and is_claimed:
            context.degrade(DegradedReason.EARLIER_ANSWER_UNAVAILABLE)
        return earlier

    async def _claim(self, customer_id: str, archived: Decision) -> Decision | None:
        """Hand out what the archive has: ``None`` if it was taken back. Raises ``RedisUnavailable``."""
        # It was not in Redis when that was read. If it has been written and archived since, by an attempt that is too
        # late for its answer, it would be taken back.
        status, waiting = await self._log.claim(customer_id, archived.decision_id)
        return None if status == "withdrawn" else waiting or archived
