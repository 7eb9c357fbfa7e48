"""One try of one firing: decided, delivered, and what has come of it kept, in this order.

A worker may be killed between any two steps. A decision is asked for under an id that follows from the firing, so
whoever tries again gets the same one, and it is delivered until somebody has taken it: at least once.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from decisioning.model.trigger import NOT_DECLARED, Trigger
from decisioning.triggers.decision_service import NOT_HELD, FiringDecisions, Nothing, Undecided
from decisioning.triggers.delivery import OpenFiring, Progress, message_of, put_off
from decisioning.triggers.ports import Keeper, NotTaken, Sender
from storage.clock import to_iso
from storage.errors import Unavailable

log = logging.getLogger(__name__)

OUT_OF_TIME = "its time was over before it could be decided or sent"


class FiringService:
    """Brings firings forward. ``clock_ms`` gives Unix ms, ``spread`` numbers from 0 to 1 at random.

    ``on_kept`` is told what has been kept, and when (Unix ms).
    """

    def __init__(
        self,
        decisions: FiringDecisions,
        triggers: Callable[[], Mapping[str, Trigger]],
        sender: Sender,
        keeper: Keeper,
        clock_ms: Callable[[], int],
        spread: Callable[[], float],
        on_kept: Callable[[Progress, int], None] | None = None,
    ) -> None:
        self._decisions = decisions
        self._triggers = triggers
        self._sender = sender
        self._keeper = keeper
        self._clock_ms = clock_ms
        self._spread = spread
        self._on_kept = on_kept

    async def bring_forward(self, firing: OpenFiring) -> Progress:
        """Try a firing that was taken up, and keep what has come of it. Raises ``PostgresUnavailable`` if it cannot."""
        progress = await self._try(firing)
        now_ms = self._clock_ms()
        if await self._keeper.keep(progress, now_ms) and self._on_kept is not None:
            self._on_kept(progress, now_ms)
        return progress

    async def _try(self, firing: OpenFiring) -> Progress:
        trigger = self._triggers().get(firing.trigger_id)
        if trigger is None:
            return Progress(firing, "dropped", NOT_DECLARED)
        if self._clock_ms() >= firing.deadline_at_ms:
            if firing.status == "decided":  # tried before, and the last try says why not
                return Progress(firing, "failed", firing.status_reason)
            reason = OUT_OF_TIME if firing.status_reason is None else f"{OUT_OF_TIME}: {firing.status_reason}"
            return Progress(firing, "dropped", reason)
        try:
            return await self._decide_and_send(firing, trigger)
        except Undecided as error:
            plan = None if error.plan is None else error.plan.as_json()
            return self._put_off(Progress(firing, firing.status, str(error), None, plan))
        except Unavailable as error:
            return self._put_off(Progress(firing, firing.status, str(error)))
        except Exception:  # a defect must not hold up other firings, nor be tried in a circle
            log.exception("a defect in the firing %s of trigger %s", firing.firing_id, firing.trigger_id)
            return self._put_off(Progress(firing, firing.status, "a defect: the log of the worker says more"))

    async def _decide_and_send(self, firing: OpenFiring, trigger: Trigger) -> Progress:
        chosen: Mapping[str, Any]
        if firing.status == "decided":
            left = await self._decisions.decided_before(firing)
            if isinstance(left, Nothing):
                return Progress(firing, left.status, left.reason)
            chosen, decision_id = left, firing.decision_id
        else:
            found = await self._decisions.decide(firing, trigger)
            if isinstance(found, Nothing):
                return Progress(firing, found.status, found.reason, found.decision_id)
            chosen, decision_id = found.as_json(), str(found.decision["decision_id"])
        message = message_of(firing, chosen, to_iso(firing.fired_at_ms))
        if not await self._keeper.holds(firing):  # as late as can be: an erasure may have deleted it
            raise Undecided(NOT_HELD)
        try:
            await self._sender.send(trigger.deliver, firing.firing_id, message)
        except NotTaken as error:
            return self._put_off(Progress(firing, "decided", str(error), decision_id, chosen))
        return Progress(firing, "delivered", None, decision_id, chosen)

    def _put_off(self, progress: Progress) -> Progress:
        return put_off(progress, self._clock_ms(), self._spread())
