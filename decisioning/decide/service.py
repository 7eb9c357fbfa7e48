"""Decisions: read, choose, reserve and log, answer; in time, whatever fails."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from msgspec.structs import replace

from bandits.policy import BoolArray
from decisioning.capacity.store_leases import NoCapacity
from decisioning.catalog.catalogue import Catalogue
from decisioning.contact.history import Contact
from decisioning.decide.answer import decision_of, defaults_of
from decisioning.decide.arbitration import weigh
from decisioning.decide.assignment import assign
from decisioning.decide.eligibility import allowed, eligible_defaults
from decisioning.decide.facts import facts_of, instant, learnable
from decisioning.decide.policy_runner import PolicyResult, PolicyRunner
from decisioning.decide.ports import CapacityReservations, ProfileSource
from decisioning.decide.ranking import SelectionContext
from decisioning.decide.request import Request, Work
from decisioning.decide.rule_cache import RuleResultCache
from decisioning.errors import Conflict, Invalid
from decisioning.learning.replica import ArmReplica
from decisioning.log.codec import answer_of
from decisioning.log.lookup_service import archived_answer
from decisioning.log.ports import Archive, DecisionLog
from decisioning.log.store_redis import ReadReply
from decisioning.model.deciders import NOBODY
from decisioning.model.decision import Decision
from decisioning.model.degraded import DegradedReason
from decisioning.model.selection import Selection
from decisioning.policies.roster import Roster
from profiles.customer import Profile
from rules.evaluation import evaluate
from storage.errors import PostgresUnavailable, RedisUnavailable
from storage.keys import Keys, generated_id, is_reserved

__all__ = ["DecisionService", "Request"]

log = logging.getLogger(__name__)

WITHDRAW_TRIES = 60
WITHDRAW_PAUSE_S = 0.5


class DecisionService:
    """Answers requests. Everything that it needs is given to it."""

    def __init__(
        self,
        *,
        catalogue: Callable[[], Catalogue],
        replica: ArmReplica,
        roster: Roster,
        decision_log: DecisionLog,
        archive: Archive,
        profiles: ProfileSource,
        keys: Keys,
        clock_ms: Callable[[], int],
        entropy: Callable[[], bytes],
        units: CapacityReservations | None = None,
        policy_budget_ms: float = 20.0,
        on_missing: Callable[[Mapping[str, int]], None] | None = None,
        on_decided: Callable[[Decision], None] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._roster = roster
        self._chooser = PolicyRunner(replica, roster, policy_budget_ms)
        self._log = decision_log
        self._archive = archive
        self._profiles = profiles
        self._keys = keys
        self._clock_ms = clock_ms
        self._entropy = entropy
        self._units = units or NoCapacity()
        self._on_missing = on_missing
        self._on_decided = on_decided
        self._remembered = RuleResultCache()
        self._background: set[asyncio.Task[Any]] = set()

    async def decide(self, request: Request) -> dict[str, Any]:
        """The answer to a request (as ``codec.answer_of`` gives it, and ``explanation`` if it was asked for).

        Raises
        ------
        NotFound
            If the placement does not exist.
        Invalid, Conflict
            If the caller's own ``decision_id`` is not usable, or named another request before.
        """
        catalogue = self._catalogue()
        view = catalogue.view(request.placement)
        own_id = request.decision_id
        if own_id is not None and is_reserved(own_id):
            raise Invalid(
                "decision_id", "ids of this form are made by nextbest; send an id of your own, or none"
            )
        bucket = self._keys.bucket(request.customer_id)
        decision_id = own_id or generated_id(bucket, self._entropy())
        role = assign(request.customer_id, view.placement, catalogue.deployments.get(request.placement))
        work = Work(request, view, catalogue, decision_id, self._clock_ms(), role)
        deadline_ms = request.deadline_ms or view.placement.deadline_ms
        try:
            async with asyncio.timeout(deadline_ms / 1000.0):
                decision = await self._decide(work)
                explanation = self._chooser.explain(work, decision)
        except TimeoutError:
            self._take_back(work)
            decision, explanation = self._defaults(work, DegradedReason.DEADLINE_EXCEEDED), {}
        if self._on_decided is not None:
            self._on_decided(decision)
        return answer_of(decision) | explanation

    async def close(self) -> None:
        """Wait a little for what still runs in the background."""
        if self._background:
            _, unfinished = await asyncio.wait(self._background, timeout=2 * WITHDRAW_PAUSE_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def _decide(self, work: Work) -> Decision:
        request = work.request
        own_id = None if request.dry_run else request.decision_id
        reply: ReadReply | None
        try:
            reply = await self._log.read(request.customer_id, work.view.contact.needed, own_id)
        except RedisUnavailable:
            reply = None
            work.degrade(DegradedReason.CONTACT_HISTORY_UNAVAILABLE)
        if reply is not None and own_id is not None:
            earlier = await self._earlier(work, reply)
            if earlier is not None:
                return earlier
        profile = await self._profile(work, reply)
        if profile is None:
            return self._defaults(work, DegradedReason.PROFILE_UNAVAILABLE)
        work.profile = profile
        self._evaluate(work)
        work.weights = weigh(work.view, work.evaluation)
        available = self._allowed(work, None if reply is None else reply.history)
        decision = await self._choose(work, available, log_it=reply is not None and not request.dry_run)
        if self._on_missing is not None and work.evaluation.missing:
            self._on_missing(work.evaluation.missing)
        return decision

    def _evaluate(self, work: Work) -> None:
        facts = facts_of(work.profile.customer, work.request.context, work.view.placement)
        work.facts = learnable(facts, self._roster.paths)
        known = self._remembered.of(work)
        work.evaluation = evaluate(work.view.plan, facts, instant(work.now_ms), known)
        if known is None:
            self._remembered.keep(work)

    def _allowed(self, work: Work, history: Sequence[Contact] | None) -> BoolArray:
        work.history = history
        if history is None:  # nothing can be logged, so no unit of capacity can be accounted for
            work.exhausted = self._units.withheld(work.view)
        else:
            work.exhausted = self._units.exhausted(work.view, work.now_ms)
        return allowed(
            work.view,
            work.profile,
            history,
            work.evaluation,
            work.exhausted,
            work.now_ms,
            eligibility_only=work.role.eligibility_only,
        )

    def _standing(self, work: Work) -> BoolArray:
        """Which offers may stand in as defaults when nothing is right: they are neither reserved nor counted."""
        uncounted = ~np.isin(work.view.numbers, list(self._units.withheld(work.view)))
        return uncounted & eligible_defaults(
            work.view, work.profile, work.history, work.evaluation, work.now_ms
        )

    async def _earlier(self, work: Work, reply: ReadReply) -> Decision | None:
        """What was answered under the caller's own id before; it leaves Redis a day after its reward window."""
        request, earlier = work.request, reply.earlier
        if reply.owner is not None and reply.owner.split(" ", 1)[1] != request.customer_id:
            raise Conflict(f"the decision id {work.decision_id!r} was used for another customer")
        if earlier is None and reply.owner is not None:
            try:
                earlier = await archived_answer(work.decision_id, self._archive)
            except PostgresUnavailable:
                work.degrade(DegradedReason.EARLIER_ANSWER_UNAVAILABLE)
        if earlier is not None and earlier.placement != request.placement:
            raise Conflict(f"the decision id {work.decision_id!r} was used for another placement")
        return earlier

    async def _profile(self, work: Work, reply: ReadReply | None) -> Profile | None:
        """The customer's profile; ``None`` only if neither Redis nor Postgres can be read."""
        customer_id = work.request.customer_id
        if reply is not None and reply.profile is not None:
            profile = self._profiles.decode(reply.profile)
            if profile is not None:
                return profile
        try:
            return await self._profiles.load(customer_id, fill=reply is not None and not work.request.dry_run)
        except PostgresUnavailable:
            if reply is None:
                return None
            work.degrade(DegradedReason.PROFILE_UNAVAILABLE)
            return Profile.unreadable(customer_id)

    async def _choose(self, work: Work, available: BoolArray, *, log_it: bool) -> Decision:
        while True:
            selection, decision = self._select(work, available)
            if not selection.choices:
                decision = replace(decision, default_offers=defaults_of(work, self._standing(work)))
            if not log_it:
                return replace(decision, feedback_until=None)
            taken = await self._units.take(work.view, selection.choices, work.now_ms)
            if taken.lacking is not None:
                available[taken.lacking] = False
                work.exhausted |= {work.view.offers[taken.lacking].number}
                continue
            if taken.units:
                decision = replace(decision, capacity=taken.logged)
            task = self._log.decide(decision, selection, work.view, work.profile.customer, taken.before_ms)
            task.add_done_callback(partial(self._units.done, taken))
            work.writing = (task, decision)
            try:
                reply = await asyncio.shield(task)
            except RedisUnavailable:
                work.writing = None
                return self._unlogged(work, decision, selection, withhold=bool(taken.units))
            work.writing = None
            if reply.written:
                return decision
            if reply.earlier is not None:
                return reply.earlier
            if reply.lost:
                work.degrade(DegradedReason.CONTACT_HISTORY_UNAVAILABLE)
            customer = work.profile.customer
            for row, offer in enumerate(work.view.offers):
                if offer.offer_id in reply.reached or (
                    reply.lost and work.view.contact.limited(row, customer)
                ):
                    available[row] = False

    def _unlogged(self, work: Work, decision: Decision, selection: Selection, *, withhold: bool) -> Decision:
        """Redis was lost while writing, so it is not known whether it was written.

        The answer stands if no limit had to be reserved, nor a unit of capacity. Otherwise it is chosen anew
        without such offers, and under another id, so that it cannot be mixed up with what may have been written. In
        either case nobody will send feedback, so what was written is taken back, lest silence be learned from.
        """
        work.degrade(DegradedReason.CONTACT_HISTORY_UNAVAILABLE)
        self._in_background(self._withdraw(decision))
        view = work.view
        limited = any(view.contact.limited(choice.row, work.profile.customer) for choice in selection.choices)
        if withhold or (limited and view.placement.without_history == "withhold"):
            if work.request.decision_id is None:
                work.decision_id = generated_id(self._keys.bucket(work.request.customer_id), self._entropy())
            _, decision = self._select(work, self._allowed(work, None))
        # What was degraded is told also where the answer itself stands.
        return replace(decision, feedback_until=None, degraded=tuple(work.degraded))

    def _select(self, work: Work, available: BoolArray) -> tuple[Selection, Decision]:
        selection_context = SelectionContext(
            view=work.view,
            available=available,
            base_propensities=work.profile.dense(work.view.numbers),
            weights=work.weights,
            now_ms=work.now_ms,
            slots=work.slots,
            decision_id=work.decision_id,
            facts=work.facts,
            wanted=_wanted(work),
        )
        made = self._chooser.choose(work, selection_context)
        return made.selection, decision_of(work, made)

    def _defaults(self, work: Work, reason: DegradedReason) -> Decision:
        """The placement's default offers, for a customer of whom nothing is known: none that needs consent."""
        work.degrade(reason)
        work.profile = Profile.unreadable(work.request.customer_id)
        self._evaluate(work)
        view = work.view
        nothing = Selection((), view.numbers[:0], np.zeros(0, np.float32))
        decision = decision_of(work, PolicyResult(nothing, NOBODY, 0))
        offers = defaults_of(work, self._allowed(work, None))
        return replace(decision, offers=offers, nothing_right_now=False, feedback_until=None)

    def _take_back(self, work: Work) -> None:
        """The answer came too late to be given: undo what was reserved and logged, once it is known."""
        if work.writing is None:
            return
        write, decision = work.writing

        async def undo() -> None:
            try:
                written = (await write).written
            except RedisUnavailable:
                written = True  # perhaps; then withdrawing does nothing
            if written:
                await self._withdraw(decision)

        self._in_background(undo())

    async def _withdraw(self, decision: Decision) -> None:
        """Take a decision back as soon as Redis answers, if that is not too long."""
        decision_id = decision.decision_id
        for _ in range(WITHDRAW_TRIES):
            try:
                await self._log.withdraw(
                    decision.customer_id, decision_id, decision.decided_at_ms, self._clock_ms()
                )
            except RedisUnavailable:
                await asyncio.sleep(WITHDRAW_PAUSE_S)
            else:
                return
        log.warning("decision %s was not delivered as logged and could not be taken back", decision_id)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _wanted(work: Work) -> tuple[int, ...] | None:
    """The rows of the caller's own choice, if that is what is to be answered and the caller told it."""
    if work.role.group != "caller" or work.request.baseline is None:
        return None
    rows = {offer.offer_id: row for row, offer in enumerate(work.view.offers)}
    return tuple(rows[offer_id] for offer_id in work.request.baseline if offer_id in rows)
