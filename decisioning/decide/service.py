"""The path of a decision, top to bottom; in time, whatever fails.

Read, profile, evaluate, eligible and allowed, score, arbitrate, select, reserve and log, answer. Each step is a
function of values that returns its result.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec import structs

from decisioning.capacity.store_leases import NoCapacity
from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.answer import decision_record, default_offers, defaults_record
from decisioning.decide.context import (
    CustomerState,
    Decided,
    DecisionContext,
    DecisionInputs,
    EligibleOffers,
    EvaluatedRequest,
    MovedCustomer,
    Selected,
    without_capacity,
    without_limited,
    without_refused,
    without_units,
)
from decisioning.decide.earlier_service import EarlierAnswers
from decisioning.decide.eligibility import EligibilityInputs, allowed, eligible_defaults
from decisioning.decide.explanation import Situation, explain
from decisioning.decide.facts import RuleResultCache, facts_of, facts_to_log, history_facts
from decisioning.decide.policy_runner import PolicyRunner, assign, assign_holdouts
from decisioning.decide.ports import CapacityReservations, ProfileSource
from decisioning.decide.ranking import NO_UNITS, SelectionContext, SharedLimits, Units, weigh
from decisioning.decide.told import NOTHING_TOLD, Told, ToldDefinitions, told_by
from decisioning.decide.withdrawal_service import Withdrawals
from decisioning.errors import Invalid, NotFound
from decisioning.learning.replica import ArmReplica
from decisioning.log.codec import answer_of
from decisioning.log.ports import Archive, DecisionLog, ReadReply
from decisioning.model.decision import Contact, Decision
from decisioning.model.degraded import DegradedReason
from decisioning.policies.roster import Roster
from profiles.customer import Customer, Profile, decode_cached
from profiles.events.definitions import NO_DEFINITIONS, EventDefinitions
from profiles.events.population import NOBODY, Population
from rules.evaluation import Facts
from storage.errors import FunctionsUnavailable, PostgresUnavailable, RedisUnavailable
from storage.keys import Keys, generated_id, is_reserved

__all__ = ["DecisionInputs", "DecisionService"]

EXPLAINING_THREADS = 2
"""So many explanations are made at once, in threads of their own: reports, which share others, hold none up."""
MAX_REDRAWS = 3
"""So often is an answer drawn anew since others were faster; then offers that may be refused are left out."""


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
        capacity: CapacityReservations | None = None,
        policy_budget_ms: float = 20.0,
        population: Callable[[], Population] = lambda: NOBODY,
        on_missing: Callable[[Mapping[str, int]], None] | None = None,
        on_decided: Callable[[Decision], None] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._roster = roster
        self._runner = PolicyRunner(replica, roster, policy_budget_ms)
        self._log = decision_log
        self._profiles = profiles
        self._keys = keys
        self._clock_ms = clock_ms
        self._entropy = entropy
        self._capacity = capacity or NoCapacity()
        self._population = population
        self._on_missing = on_missing
        self._on_decided = on_decided
        self._rule_results = RuleResultCache()
        self._told_definitions = ToldDefinitions()
        self._withdrawals = Withdrawals(decision_log, clock_ms)
        self._earlier = EarlierAnswers(decision_log, archive)
        self._explainers = ThreadPoolExecutor(EXPLAINING_THREADS, "explaining")

    async def decide(self, request: DecisionInputs) -> dict[str, Any]:
        """Answer a request (as ``codec.answer_of`` gives it, and ``explanation`` if that was asked for).

        Raises
        ------
        NotFound
            If the placement does not exist.
        Invalid, Conflict
            If the caller's own ``decision_id`` is not usable, or named another request before.
        """
        context = self._open(request)
        deadline_ms = request.deadline_ms or context.view.placement.deadline_ms
        try:
            async with asyncio.timeout(deadline_ms / 1000.0):
                context, decided = await self._decide_resolved(context)
        except TimeoutError:
            decided = self._decide_defaults(context, DegradedReason.DEADLINE_EXCEEDED)
        if self._on_decided is not None:
            self._on_decided(decided.record)
        # It is decided and logged by now: the deadline cannot take that back.
        return answer_of(decided.record) | await self._explain(context, decided)

    async def close(self) -> None:
        """Wait a little for what still runs in the background; nothing is explained any more."""
        await self._withdrawals.close()
        self._explainers.shutdown(wait=False)

    async def _decide_resolved(self, context: DecisionContext) -> tuple[DecisionContext, Decided]:
        """Walk the path; anew for the customer, with a context for that, if who is asked for is an alias."""
        while True:
            try:
                return context, await self._decide(context)
            except MovedCustomer as moved:
                context = self._open(replace(context.request, customer_id=moved.customer_id))
            except RedisUnavailable:  # while that was looked up
                return context, self._decide_defaults(context, DegradedReason.CONTACT_HISTORY_UNAVAILABLE)

    async def _move(self, context: DecisionContext, customer_id: str) -> MovedCustomer:
        """Return what makes the request be answered for a customer. Raises ``RedisUnavailable``."""
        request = context.request
        customer_id = await self._log.resolve(customer_id)
        if request.decision_id is not None and not request.dry_run:
            window_ms = context.view.placement.reward_window_s * 1000
            await self._log.reassign(customer_id, request.decision_id, window_ms)
        return MovedCustomer(customer_id)

    async def _decide(self, context: DecisionContext) -> Decided:
        """Walk the path. Raises ``TimeoutError`` from outside when the deadline passes, at any ``await``."""
        reading = await self._read(context)
        if reading is not None and context.request.decision_id is not None:
            earlier = await self._earlier.find(context, reading)
            if earlier is not None:
                return Decided(earlier)
        if reading is not None and reading.moved is not None and not reading.here:
            raise await self._move(context, reading.moved)
        profile = await self._load_profile(context, reading)
        if profile is None:
            return self._decide_defaults(context, DegradedReason.PROFILE_UNAVAILABLE)
        is_here = reading is not None and (
            reading.here or DegradedReason.EARLIER_ANSWER_UNAVAILABLE in context.degraded
        )
        customer_id = profile.customer.customer_id
        if customer_id != context.request.customer_id and not is_here:  # an alias that Redis cannot tell of
            raise MovedCustomer(customer_id) if reading is None else await self._move(context, customer_id)
        if is_here:
            reading = None  # what it was answered cannot be read just now: that stands, and nothing is logged beside it
        customer = CustomerState(profile, None, None)
        if reading is not None:
            household = await self._read_household(context, profile.customer)
            customer = CustomerState(profile, reading.history, household)
        evaluated = self._evaluate(context, customer, self._read_told(context, reading))
        eligible = self._find_eligible(context, customer, evaluated)
        if reading is None or context.request.dry_run:  # it cannot, or must not, be logged
            units = NO_UNITS if reading is None else await self._count_units(context)
            if units:
                eligible = without_units(eligible, units)
            decided = _unlogged(context, self._add_defaults(context, self._select(context, eligible, units)))
        else:
            decided = await self._select_and_log(context, eligible)
        if self._on_missing is not None and evaluated.evaluation.missing:
            self._on_missing(evaluated.evaluation.missing)
        return decided

    def _open(self, request: DecisionInputs) -> DecisionContext:
        """Fix the catalogue, the id, the time and the customer's experiment group. Raises as ``decide``."""
        catalogue = self._catalogue()
        view = catalogue.views.get(request.placement)
        if view is None:
            raise NotFound("placement", request.placement)
        placement = view.placement
        if request.decision_id is not None and is_reserved(request.decision_id):
            raise Invalid(
                "decision_id", "ids of this form are made by nextbest; send an id of your own, or none"
            )
        decision_id, now_ms = request.decision_id or self._new_id(request), self._clock_ms()
        return DecisionContext(
            request=request,
            catalogue=catalogue,
            view=view,
            decision_id=decision_id,
            now_ms=now_ms,
            assignment=assign(request.customer_id, view, catalogue.deployments.get(request.placement)),
            slots=min(request.limit or placement.slots, placement.slots),
            holdouts=assign_holdouts(request.customer_id, catalogue.holdouts.values(), now_ms),
            attempt="" if request.decision_id is None else self._entropy()[-8:].hex(),
        )

    def _new_id(self, request: DecisionInputs) -> str:
        return generated_id(self._keys.bucket(request.customer_id), self._entropy())

    async def _read(self, context: DecisionContext) -> ReadReply | None:
        """Read the cached profile, contacts, events, and the owner of the caller's own id; ``None`` without Redis."""
        request = context.request
        tells = self._definitions_for(context) is not NO_DEFINITIONS
        own_id = None if request.dry_run else request.decision_id
        try:
            view = context.view
            needed = view.contact.needed or view.own_history is not None or bool(self._roster.history)
            window_ms = view.placement.reward_window_s * 1000
            return await self._log.read(request.customer_id, needed, own_id, window_ms, tells)
        except RedisUnavailable:
            context.degrade(DegradedReason.CONTACT_HISTORY_UNAVAILABLE)
            return None

    async def _load_profile(self, context: DecisionContext, reading: ReadReply | None) -> Profile | None:
        """Take the profile from what was read, or from Postgres; ``None`` only if neither store can be read."""
        customer_id = context.request.customer_id
        if reading is not None and reading.profile is not None and reading.moved is None:
            profile = decode_cached(reading.profile)
            if profile is not None:
                return profile
        try:
            fill = reading is not None and not context.request.dry_run
            return await self._profiles.load(customer_id, fill=fill)
        except PostgresUnavailable:
            if reading is None:
                return None
            # Unknown is not the same as without consent: what needs consent fails closed.
            context.degrade(DegradedReason.PROFILE_UNAVAILABLE)
            return Profile.unreadable(customer_id)

    async def _read_household(self, context: DecisionContext, customer: Customer) -> Sequence[Contact] | None:
        """Read the contacts of the customer's household if they are limited; ``None`` if they cannot be read."""
        if not context.view.contact.counts_households:
            return ()
        if customer.suppressions is None:  # nor does anybody know which household it is
            return None
        if customer.household_id is None:
            return ()
        try:
            return await self._log.read_household(customer.household_id, context.decision_id, context.now_ms)
        except RedisUnavailable:
            context.degrade(DegradedReason.CONTACT_HISTORY_UNAVAILABLE)
            return None

    def _definitions_for(self, context: DecisionContext) -> EventDefinitions:
        """Return the definitions of what is read for a decision; ``NO_DEFINITIONS`` if nothing is."""
        if not context.catalogue.event_definitions.contributions:
            return NO_DEFINITIONS
        return self._told_definitions.of(context.catalogue, context.view, self._roster.paths)

    def _read_told(self, context: DecisionContext, reading: ReadReply | None) -> Told:
        """Return what the customer's events tell now; nothing is known of them without Redis."""
        definitions = self._definitions_for(context)
        if reading is None or definitions is NO_DEFINITIONS:
            return NOTHING_TOLD
        return told_by(definitions, reading.events, context.now_ms, self._population())

    def _evaluate(
        self, context: DecisionContext, customer: CustomerState, told: Told = NOTHING_TOLD
    ) -> EvaluatedRequest:
        """Evaluate all rules of the placement on the facts of the request. ``told``: what events tell."""
        view, request, profile = context.view, context.request, customer.profile
        facts: Facts = facts_of(profile.customer, request.context, view.placement, told)
        asked, numbers = self._roster.history, context.catalogue.numbers
        if own := history_facts(view, asked, numbers, customer.history, context.now_ms):
            facts = {**facts, **own}
        evaluation = self._rule_results.evaluate(
            context.catalogue.version, view, profile, facts, context.now_ms, explain=request.explain
        )
        logged = facts_to_log(facts, self._roster.paths, view.placement.log_facts)
        return EvaluatedRequest(logged, evaluation, told)

    def _find_eligible_again(
        self,
        context: DecisionContext,
        eligible: EligibleOffers,
        history: Sequence[Contact] | None,
        household: Sequence[Contact] | None,
        told: Told | None = None,
    ) -> EligibleOffers:
        """Find the eligible offers by another reading of the contact histories, which rules may look at, too.

        ``told``: what events tell, if that is to be read otherwise as well.
        """
        customer, evaluated = CustomerState(eligible.inputs.profile, history, household), eligible.evaluated
        if told is not None or context.view.own_history is not None or self._roster.history:
            evaluated = self._evaluate(context, customer, evaluated.told if told is None else told)
        return self._find_eligible(context, customer, evaluated)

    def _find_eligible(
        self, context: DecisionContext, customer: CustomerState, evaluated: EvaluatedRequest
    ) -> EligibleOffers:
        """Run the stages of eligibility: live, rules, consent, contact policy, capacity."""
        view = context.view
        if customer.history is None:  # nothing can be logged, so no unit of capacity can be accounted for
            exhausted = self._capacity.withheld(view)
        else:
            exhausted = self._capacity.exhausted(view, context.now_ms)
        inputs = EligibilityInputs(
            catalogue=context.catalogue,
            view=view,
            profile=customer.profile,
            history=customer.history,
            evaluation=evaluated.evaluation,
            exhausted=exhausted,
            now_ms=context.now_ms,
            eligibility_only=context.assignment.eligibility_only,
            holdouts=context.holdouts,
            household=customer.household,
        )
        return EligibleOffers(evaluated, inputs, allowed(inputs))

    async def _count_units(self, context: DecisionContext) -> Units:
        """Count the units of capacities of which the answer may need more than there are."""
        if not self._capacity.withheld(context.view):
            return NO_UNITS
        return await self._capacity.units(context.view, context.slots, context.now_ms)

    def _select(
        self, context: DecisionContext, eligible: EligibleOffers, units: Units = NO_UNITS
    ) -> Selected:
        """Score, arbitrate and select, by the policy of the customer's group or its fallback."""
        view, inputs, evaluated = context.view, eligible.inputs, eligible.evaluated
        selection_context = SelectionContext(
            view=view,
            available=eligible.available,
            base_propensities=inputs.profile.dense(view.numbers),
            weights=weigh(view, evaluated.evaluation),
            now_ms=context.now_ms,
            slots=context.slots,
            decision_id=context.decision_id,
            facts=evaluated.facts,
            caller_choice=_caller_choice(context),
            limits=SharedLimits.of(
                view, inputs.profile.customer, inputs.history, units, context.slots, inputs.household
            ),
            prices=self._capacity.prices(view, context.now_ms),
        )
        result = self._runner.run(context.assignment, selection_context)
        if result.failed is not None:
            context.degrade(DegradedReason(result.failed.reason))
        return Selected(eligible, result, decision_record(context, evaluated, inputs, result))

    def _add_defaults(self, context: DecisionContext, selected: Selected) -> Selected:
        """Let the placement's defaults stand in where nothing was selected, or fill the slots if it says so."""
        choices = selected.result.selection.choices
        wanted = context.slots if context.view.placement.fill_with_defaults else 1
        if len(choices) >= wanted:
            return selected
        eligible = selected.eligible
        # Defaults are neither reserved nor counted, so none may have a capacity.
        uncounted = replace(eligible.inputs, exhausted=self._capacity.withheld(context.view))
        chosen = [choice.row for choice in choices]
        available = eligible_defaults(uncounted)
        offers = default_offers(context, eligible.evaluated, uncounted, available, chosen)
        return replace(selected, record=structs.replace(selected.record, default_offers=offers))

    async def _select_and_log(self, context: DecisionContext, eligible: EligibleOffers) -> Decided:
        """Select, and reserve limits and capacity and log in one atomic step; anew if others were faster."""
        view, customer = context.view, eligible.inputs.profile.customer
        redraws = -1
        while True:
            redraws += 1
            if redraws >= MAX_REDRAWS:  # others are faster each time: of what is left nothing can be refused
                eligible = without_limited(eligible, self._capacity.withheld(view))
            # What an answer uses up itself is known before it is drawn; only a race makes it be drawn anew.
            units = await self._count_units(context)
            if units:
                eligible = without_units(eligible, units)
            selected = self._add_defaults(context, self._select(context, eligible, units))
            selection = selected.result.selection
            reservation = await self._capacity.take(view, selection.choices, context.now_ms)
            if reservation.lacking is not None:
                eligible = without_capacity(eligible, reservation.lacking)
                continue
            record = selected.record
            if redraws:
                record = structs.replace(record, redraws=redraws)
            if reservation.units:  # the log accounts for them: what a lost lease used is counted there
                record = structs.replace(record, capacity=reservation.logged)
            write = self._log.decide(
                record, selection, view, customer, reservation.before_ms, context.attempt
            )
            write.add_done_callback(partial(self._capacity.done, reservation))
            try:
                reply = await asyncio.shield(write)
            except asyncio.CancelledError:  # the deadline has passed
                self._withdrawals.undo(context, write, record)
                raise
            except RedisUnavailable as error:
                context.degrade(_reason_of(error))
                return self._decide_unlogged(context, selected, withhold=bool(reservation.units))
            if reply.written:
                return Decided(record, selected)
            if reply.here:
                earlier = reply.earlier or await self._earlier.find_archived(context, is_claimed=True)
                return self._decide_unread(context, selected) if earlier is None else Decided(earlier)
            if reply.moved is not None:
                raise await self._move(context, reply.moved)
            if reply.lost:
                context.degrade(DegradedReason.CONTACT_HISTORY_UNAVAILABLE)
                snapshot = record.customer_snapshot
                told = snapshot is not None and bool(snapshot.events or snapshot.interests_told)
                # Rules and suppressions have looked at what is not all there.
                if told or view.asks_events or view.own_history is not None or view.contact.suppresses:
                    eligible = self._find_eligible_again(context, eligible, None, None, NOTHING_TOLD)
            else:
                eligible = await self._read_again(context, eligible)
            eligible = without_refused(eligible, reply)

    async def _read_again(self, context: DecisionContext, eligible: EligibleOffers) -> EligibleOffers:
        """Find the eligible offers by the contacts as they are now, when others have been faster."""
        reading = await self._read(context)
        if reading is None:
            return eligible
        household = await self._read_household(context, eligible.inputs.profile.customer)
        return self._find_eligible_again(context, eligible, reading.history, household)

    def _decide_unread(self, context: DecisionContext, selected: Selected) -> Decided:
        """Answer beside a decision of the same id that cannot be read: without what is to be reserved, and unlogged."""
        eligible = self._find_eligible_again(context, selected.eligible, None, None)
        return _unlogged(context, self._select(context, eligible))

    def _decide_unlogged(self, context: DecisionContext, selected: Selected, *, withhold: bool) -> Decided:
        """Answer although Redis was lost while writing, so that it is not known whether the decision was written.

        It stands if no limit had to be reserved, nor a unit of capacity. Otherwise it is made anew without such offers,
        and under another id, so that it cannot be mixed up with what may have been written. In either case nobody
        will send feedback, so what was written is withdrawn, lest silence be learned from.
        """
        self._withdrawals.withdraw(context, selected.record)
        view, profile = context.view, selected.eligible.inputs.profile
        choices = selected.result.selection.choices
        limited = any(view.contact.limited(choice.row, profile.customer) for choice in choices)
        if withhold or (limited and view.placement.without_history == "withhold"):
            if context.request.decision_id is None:
                context = replace(context, decision_id=self._new_id(context.request))
            eligible = self._find_eligible_again(context, selected.eligible, None, None)
            selected = self._select(context, eligible)
        return _unlogged(context, selected)

    def _decide_defaults(self, context: DecisionContext, reason: DegradedReason) -> Decided:
        """Answer the placement's default offers, for a customer of whom nothing is known: none that needs consent."""
        context.degrade(reason)
        customer = CustomerState(Profile.unreadable(context.request.customer_id), None, None)
        evaluated = self._evaluate(context, customer)
        eligible = self._find_eligible(context, customer, evaluated)
        return Decided(defaults_record(context, evaluated, eligible.inputs, eligible.available))

    async def _explain(self, context: DecisionContext, decided: Decided) -> dict[str, Any]:
        """Explain the decision, in a thread for that, if it was asked for, and made now by a policy."""
        selected = decided.selected
        if not context.request.explain or selected is None:
            return {}
        result = selected.result
        propensities = result.selection.propensities
        found = [] if propensities is None else propensities.tolist()
        situation = Situation(selected.eligible.inputs, result.context.weights, found, result.selection)
        loop = asyncio.get_running_loop()
        return {"explanation": await loop.run_in_executor(self._explainers, explain, situation)}


def _caller_choice(context: DecisionContext) -> tuple[int, ...] | None:
    """Return the rows of the caller's own choice, if it is to be answered and the caller told it."""
    if context.assignment.group != "caller" or context.request.baseline is None:
        return None
    rows = {offer.offer_id: row for row, offer in enumerate(context.view.offers)}
    return tuple(rows[offer_id] for offer_id in context.request.baseline if offer_id in rows)


def _reason_of(error: RedisUnavailable) -> DegradedReason:
    """Name the part without which a decision could not be written."""
    if isinstance(error, FunctionsUnavailable):
        return DegradedReason.FUNCTIONS_UNAVAILABLE
    return DegradedReason.CONTACT_HISTORY_UNAVAILABLE


def _unlogged(context: DecisionContext, selected: Selected) -> Decided:
    """Return a decision that is not in the log, so that no feedback on it can be taken."""
    degraded = tuple(context.degraded)  # maybe more than when the record was made
    return Decided(structs.replace(selected.record, feedback_until=None, degraded=degraded), selected)
