"""The decision that a firing calls for: for its placement, or the best of its channels; once, however often tried."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_json

from decisioning.catalog.catalogue import Catalogue
from decisioning.decide.context import DecisionInputs
from decisioning.model.decision import Decision
from decisioning.model.degraded import DegradedReason
from decisioning.model.trigger import Trigger, TriggerChannel
from decisioning.triggers.channels import (
    Prospect,
    describe_loss,
    describe_stops,
    expected_value,
    forbidden_now,
    preferred_channels,
    rank_channels,
    selected_offers,
)
from decisioning.triggers.delivery import OpenFiring, Plan, Progress
from decisioning.triggers.firing import FiringStatus
from decisioning.triggers.ports import Decider, Keeper, Profiles

DEADLINE_MS = 2_000
"""For one decision: nobody waits for it as for that of a page."""
MAX_CONTEXT_BYTES = 4_096
"""A cause that is larger is told to rules without the properties of its event."""
NOT_HELD = "another worker has it by now, or its customer was erased"
_OUTAGES = frozenset(
    {
        DegradedReason.DEADLINE_EXCEEDED,
        DegradedReason.PROFILE_UNAVAILABLE,
        DegradedReason.CONTACT_HISTORY_UNAVAILABLE,
        DegradedReason.FUNCTIONS_UNAVAILABLE,
        DegradedReason.EARLIER_ANSWER_UNAVAILABLE,
    }
)
"""Reasons for which an answer without offers says nothing: it may have some when it is asked for again."""


class Undecided(Exception):
    """Nothing can be decided just now, so it is to be tried again. ``plan``: the one to keep for that, if any."""

    def __init__(self, reason: str, plan: Plan | None = None) -> None:
        super().__init__(reason)
        self.plan = plan


@dataclass(frozen=True, slots=True)
class Nothing:
    """No placement has an offer for the customer, or none that may be sent. ``reason``: why, for people.

    ``status``: what the firing ends as. ``decision_id``: of a decision that is found to have been made.
    """

    reason: str
    status: FiringStatus = "nothing"
    decision_id: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The placement and channel that were chosen, and the answer of the decision: with selected offers alone."""

    placement: str
    channel: str
    decision: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the form that is kept and delivered."""
        return {"placement": self.placement, "channel": self.channel, "decision": dict(self.decision)}


class FiringDecisions:
    """Decides for firings. ``clock_ms`` gives Unix ms. ``find_decision``: looks up a decision by its id."""

    def __init__(
        self,
        decisions: Decider,
        catalogue: Callable[[], Catalogue],
        profiles: Profiles,
        keeper: Keeper,
        clock_ms: Callable[[], int],
        find_decision: Callable[[str], Awaitable[Decision | None]],
    ) -> None:
        self._decisions = decisions
        self._catalogue = catalogue
        self._profiles = profiles
        self._keeper = keeper
        self._clock_ms = clock_ms
        self._find_decision = find_decision

    async def decide(self, firing: OpenFiring, trigger: Trigger) -> Chosen | Nothing:
        """Decide for a firing: asked again, it answers the same.

        Raises ``Undecided`` if it must be asked again, and ``Unavailable``.
        """
        plan = firing.plan
        if plan is None:
            found = await self._make_plan(firing, trigger)
            if isinstance(found, Nothing):
                return found
            plan = found
        views = self._catalogue().views
        for placement in plan.placements:
            if placement not in views:
                # A worker that was killed may have decided there, and sent it: no other decision is made beside that.
                decision_id = plan.decision_id(firing.firing_id, placement)
                if await self._was_offered(decision_id):
                    return Nothing(_gone(placement), "dropped", decision_id)
                continue
            # An erasure waits for as long as a decision may take after it has deleted the firing.
            if not await self._keeper.holds(firing):
                raise Undecided(NOT_HELD)
            answer = await self._ask(firing, placement, plan)
            if offers := selected_offers(answer):
                # Default offers are left out: a contact that no limit counts is none to begin unasked.
                channel = views[placement].placement.channel
                return Chosen(placement, channel, answer | {"offers": offers})
            if outages := _outages(answer):
                # It is logged under this id, without an offer: the next time another one is asked for.
                raise Undecided(outages, replace(plan, turn=plan.turn + 1))
        return Nothing(await self._explain(firing, plan.placements))

    async def decided_before(self, firing: OpenFiring) -> Mapping[str, Any] | Nothing:
        """Return what was decided for a firing, without offers that the customer must not get any more.

        Raises ``Undecided`` if that cannot be told just now, and ``Unavailable``.
        """
        assert firing.chosen is not None
        placement, decision = firing.chosen["placement"], firing.chosen["decision"]
        if placement not in self._catalogue().views:
            return Nothing(_gone(placement), "dropped")
        answer = await self._ask(firing, placement, Plan(()), dry_run=True, explain=True)
        if outages := _outages(answer):
            raise Undecided(outages)
        if "explanation" not in answer:
            raise Undecided("it cannot be told whether it may still be sent")
        why = {o["offer_id"]: forbidden_now(o["offer_id"], answer["explanation"]) for o in decision["offers"]}
        left = [offer for offer in decision["offers"] if why[offer["offer_id"]] is None]
        if not left:
            stops = ", ".join(sorted({str(w) for w in why.values()}))
            return Nothing(f"stopped before it was sent by {stops}", "dropped")
        return {**firing.chosen, "decision": {**decision, "offers": left}}

    async def _was_offered(self, decision_id: str) -> bool:
        """Return whether a decision was made under an id, and selected something."""
        decision = await self._find_decision(decision_id)
        return decision is not None and any(offer.score is not None for offer in decision.offers)

    async def _make_plan(self, firing: OpenFiring, trigger: Trigger) -> Plan | Nothing:
        """Say which placements to ask, the best first, and keep that, as it must not change any more.

        Where a trigger has one placement without a cost, its plan was kept when the firing was taken up.
        """
        views = self._catalogue().views
        choices = [choice for choice in trigger.choices if choice.placement in views]
        if not choices:
            return Nothing("none of its placements is in the catalogue any more")
        if len(choices) == 1 and not choices[0].cost:
            plan = Plan((choices[0].placement,))
        else:
            ranked = await self._compare(firing, choices)
            if isinstance(ranked, Nothing):
                return ranked
            plan = Plan(tuple(prospect.placement for prospect in ranked))
        kept = Progress(firing, "due", None, None, plan.as_json(), firing.lease_until_ms)
        if not await self._keeper.keep(kept, self._clock_ms()):
            raise Undecided(NOT_HELD)
        return plan

    async def _compare(
        self, firing: OpenFiring, choices: Sequence[TriggerChannel]
    ) -> Sequence[Prospect] | Nothing:
        """Ask all placements without consequences, and rank those that have an offer that is worth the contact."""
        prospects = []
        for choice in choices:
            # Under the id of the decision to come, whose choice among equals is drawn by it.
            answer = await self._ask(firing, choice.placement, Plan(()), dry_run=True)
            if outages := _outages(answer):
                raise Undecided(outages)
            expected = expected_value(selected_offers(answer))
            if expected is not None:
                channel = self._catalogue().views[choice.placement].placement.channel
                prospects.append(Prospect(choice.placement, channel, expected, choice.cost))
        if not prospects:
            return Nothing(await self._explain(firing, [choice.placement for choice in choices]))
        profile = await self._profiles.load(firing.customer_id, fill=False)
        ranked = rank_channels(prospects, preferred_channels(profile.customer.attributes))
        return ranked or Nothing("; ".join(f"{p.placement}: {describe_loss(p)}" for p in prospects))

    async def _ask(
        self, firing: OpenFiring, placement: str, plan: Plan, *, dry_run: bool = False, explain: bool = False
    ) -> dict[str, Any]:
        """Ask for a decision. Raises ``Undecided`` if it was not logged, so that it does not count."""
        answer = await self._decisions.decide(
            DecisionInputs(
                customer_id=firing.customer_id,
                placement=placement,
                context=context_of(firing),
                decision_id=plan.decision_id(firing.firing_id, placement),
                deadline_ms=DEADLINE_MS,
                dry_run=dry_run,
                explain=explain,
            )
        )
        if answer["feedback_until"] is None and not dry_run:
            raise Undecided(", ".join(answer["degraded"]) or "the decision could not be logged")
        return answer

    async def _explain(self, firing: OpenFiring, placements: Sequence[str]) -> str:
        """Say for each placement what stopped its offers."""
        told = []
        for placement in placements:
            if placement in self._catalogue().views:
                answer = await self._ask(firing, placement, Plan(()), dry_run=True, explain=True)
                told.append(f"{placement}: {describe_stops(answer.get('explanation', ()))}")
        return "; ".join(told) or "none of its placements is in the catalogue any more"


def _gone(placement: str) -> str:
    return f"the placement {placement} is not in the catalogue any more"


def context_of(firing: OpenFiring) -> dict[str, Any]:
    """Return the context of a firing's decision: ``trigger``, and ``cause`` as far as it is not too large."""
    cause = dict(firing.cause)
    if len(to_json(cause)) > MAX_CONTEXT_BYTES:
        cause.pop("properties", None)
    if len(to_json(cause)) > MAX_CONTEXT_BYTES:
        cause = {}
    return {"trigger": firing.trigger_id, "cause": cause}


def _outages(answer: Mapping[str, Any]) -> str:
    """Name the reasons why an answer may be another one later; empty if there are none."""
    return ", ".join(reason for reason in answer["degraded"] if reason in _OUTAGES)
