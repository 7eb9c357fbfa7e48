"""Feedback: each outcome of a decided offer counts once, or is refused with a reason."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, TypeVar

from decisioning.contact.history import outcome_contact, suppressing
from decisioning.errors import REFUSALS, Conflict, Invalid, NotFound, Refusal
from decisioning.log.codec import history_member, outcome_fields
from decisioning.log.ports import NO_CONTACTS, Archive, Contacts, DecisionLog, TellOutcome
from decisioning.model.decision import Contact, LoggedDecision
from decisioning.model.entities import FOREVER_MS
from decisioning.model.outcome import BUILT_IN, NO_RULES, Consequences, Outcome, OutcomeRules
from decisioning.model.position import StreamPosition
from storage.errors import PostgresUnavailable, RedisUnavailable
from storage.tasks import each_of

T = TypeVar("T")
SKEW_MS = 300_000
"""The most that the clock of an outcome's sender may differ from ours. An outcome of now is taken by any clock."""

MAX_ARCHIVED_AT_ONCE = 64
"""Of one batch, so that a large one does not keep others from Postgres."""

Status = Literal["recorded", "duplicate", "late"]
OPPOSITE: Mapping[str, str] = {"accepted": "rejected", "rejected": "accepted"}
_STATUSES: Mapping[str, Status] = {"recorded": "recorded", "duplicate": "duplicate", "late": "late"}


@dataclass(frozen=True, slots=True)
class Feedback:
    """A validated outcome; ``at_ms`` is when it happened (Unix ms), ``None`` for now."""

    decision_id: str
    offer_id: str
    outcome: str
    value: float | None = None
    at_ms: int | None = None
    reason: str | None = None


class BatchArchive:
    """The archive as the items of one batch see it: once it did not answer, it is not asked again."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._failure: str | None = None

    async def decision(self, decision_id: str) -> LoggedDecision | None:
        """Read a decision as logged. Raises ``PostgresUnavailable``."""
        return await self._ask(lambda: self._archive.decision(decision_id))

    async def outcomes(self, decision_id: str, decided_at_ms: int | None = None) -> list[Outcome]:
        """Read its outcomes. Raises ``PostgresUnavailable``."""
        return await self._ask(lambda: self._archive.outcomes(decision_id, decided_at_ms))

    async def _ask(self, read: Callable[[], Awaitable[T]]) -> T:
        if self._failure is not None:
            raise PostgresUnavailable(self._failure)
        try:
            return await read()
        except PostgresUnavailable as error:
            self._failure = str(error)
            raise


@dataclass(frozen=True, slots=True)
class FeedbackService:
    """Records outcomes. When ``record`` returns, the outcome is in the log.

    ``on_recorded`` is told of each that was not known before. ``rules``: the outcomes and reasons of the catalogue in
    force.
    """

    decision_log: DecisionLog
    archive: Archive
    clock_ms: Callable[[], int]
    on_recorded: Callable[[Feedback, Status], None] | None = None
    rules: Callable[[], OutcomeRules] = lambda: NO_RULES

    def batch(self) -> "FeedbackService":
        """Make one for a batch: items whose decisions are archived wait once for an archive that does not answer."""
        return replace(self, archive=BatchArchive(self.archive))

    async def record(self, feedback: Feedback) -> Status:
        """Record one outcome.

        Raises ``NotFound`` if there is no such decision; ``Invalid`` if there is no such outcome, the offer was not in
        it, or the time is impossible; ``Conflict`` if the opposite outcome is already recorded, or a terminal one;
        ``RedisUnavailable`` or ``PostgresUnavailable`` if it could not be stored. It may be sent again as often as
        needed.
        """
        now_ms = self.clock_ms()
        follows = _check(feedback, self.rules(), now_ms)
        bucket = await self.decision_log.bucket_of(feedback.decision_id)
        if bucket is None:
            return await self._archived(feedback, follows, now_ms)
        (reply,) = await self.decision_log.feedback((_outcome_of(feedback, bucket, now_ms, follows),))
        if isinstance(reply, RedisUnavailable):
            raise reply
        if reply[0] == "unknown":
            return await self._archived(feedback, follows, now_ms)
        answer = self._answer(feedback, *reply)
        if not isinstance(answer, str):
            raise answer
        return answer

    async def record_all(self, told: Sequence[Feedback]) -> list[Status | Refusal]:
        """Record outcomes; each has its status, or what ``record`` would raise.

        Those of a decision that is in Redis are recorded in their order; those of an archived one side by side.
        """
        now_ms, rules = self.clock_ms(), self.rules()
        answers: dict[int, Status | Refusal] = {}
        checked: dict[int, Consequences] = {}
        for place, feedback in enumerate(told):
            try:
                checked[place] = _check(feedback, rules, now_ms)
            except Invalid as error:
                answers[place] = error
        buckets = await self.decision_log.buckets_of({told[place].decision_id for place in checked})
        sent: dict[int, TellOutcome] = {}
        archived: list[int] = []
        for place, follows in checked.items():
            feedback = told[place]
            bucket = buckets[feedback.decision_id]
            if isinstance(bucket, int):
                sent[place] = _outcome_of(feedback, bucket, now_ms, follows)
            elif bucket is None:
                archived.append(place)
            else:
                answers[place] = bucket
        replies = await self.decision_log.feedback(list(sent.values()))
        for place, reply in zip(sent, replies, strict=True):
            if isinstance(reply, RedisUnavailable):
                answers[place] = reply
            elif reply[0] == "unknown":
                archived.append(place)
            else:
                answers[place] = self._answer(told[place], *reply)
        if archived:

            async def late(place: int) -> Status | Refusal:
                try:
                    return await self._archived(told[place], checked[place], now_ms)
                except REFUSALS as error:
                    return error

            archived.sort()
            answers.update(zip(archived, await each_of(archived, late, MAX_ARCHIVED_AT_ONCE), strict=True))
        return [answers[place] for place in range(len(told))]

    def _answer(self, feedback: Feedback, status: str, detail: str) -> Status | Refusal:
        if status == "not_offered":
            return _not_offered(feedback)
        if status == "contradicts":
            return _contradicts(feedback, detail)
        if status == "too_early":
            return _too_early()
        return self._tell(feedback, _STATUSES[status])

    def _tell(self, feedback: Feedback, status: Status) -> Status:
        if self.on_recorded is not None and status != "duplicate":
            self.on_recorded(feedback, status)
        return status

    async def _archived(self, feedback: Feedback, follows: Consequences, now_ms: int) -> Status:
        """Record an outcome of a decision that has left Redis: late if that is archived, unknown if it is not."""
        at_ms = now_ms if feedback.at_ms is None else feedback.at_ms
        logged = await self.archive.decision(feedback.decision_id)
        if logged is None:
            raise NotFound("decision", feedback.decision_id)
        outcomes = await self.archive.outcomes(feedback.decision_id, logged.decision.decided_at_ms)
        if logged.decision.is_taken_back(outcomes):
            raise NotFound("decision", feedback.decision_id)
        decision = logged.decision
        numbers = {o.offer_id: n for o, n in zip(decision.offers, decision.numbers, strict=True)}
        if feedback.offer_id not in numbers:
            raise _not_offered(feedback)
        if now_ms <= decision.until_ms:
            # Redis lost it and it is being restored; taking the outcome now could count it twice.
            raise RedisUnavailable("the decision is being restored; send the outcome again")
        earlier = {o.outcome for o in outcomes if o.offer_id == feedback.offer_id}
        if feedback.outcome in earlier:
            return "duplicate"
        if OPPOSITE.get(feedback.outcome) in earlier:
            raise _contradicts(feedback, OPPOSITE[feedback.outcome])
        if feedback.at_ms is not None and at_ms < decision.decided_at_ms - SKEW_MS:
            raise _too_early()
        outcome = Outcome(
            bucket=logged.bucket,
            position=StreamPosition(),
            decision_id=logged.decision_id,
            decided_at_ms=decision.decided_at_ms,
            offer_id=feedback.offer_id,
            offer=numbers[feedback.offer_id],
            outcome=feedback.outcome,
            value=feedback.value,
            at_ms=at_ms,
            recorded_ms=now_ms,
            late=True,
            reward=None,
            base_propensity=float("nan"),
            policy=decision.policy.key,
            placement=decision.placement,
            reason=follows.reason,
            causes=follows.causes,
        )
        # The decision is not in Redis, so nothing there can tell a repeated outcome from a new one but this mark.
        mark = f"{feedback.decision_id}:{feedback.offer_id}:{feedback.outcome}"
        contacts = _contacts(logged, outcome, earlier, follows.suppress_ms)
        fresh = await self.decision_log.append(logged.bucket, mark, [outcome_fields(outcome)], contacts)
        return self._tell(feedback, "late" if fresh else "duplicate")


def _check(feedback: Feedback, rules: OutcomeRules, now_ms: int) -> Consequences:
    """Return what follows from an outcome. Raises ``Invalid`` if it can be recorded of no decision."""
    if feedback.outcome not in BUILT_IN and feedback.outcome not in rules.outcomes:
        raise _undeclared(feedback.outcome, rules.outcomes)
    if feedback.reason is not None and feedback.reason not in rules.reasons:
        raise _no_reason(feedback.reason, rules.reasons)
    if feedback.at_ms is not None and feedback.at_ms > now_ms + SKEW_MS:
        raise Invalid("occurred_at", "lies in the future; send the time at which the outcome happened")
    return rules.consequences(feedback.outcome, feedback.reason)


def _outcome_of(feedback: Feedback, bucket: int, now_ms: int, follows: Consequences) -> TellOutcome:
    at_ms, skew_ms = (now_ms, FOREVER_MS) if feedback.at_ms is None else (feedback.at_ms, SKEW_MS)
    return TellOutcome(
        bucket,
        feedback.decision_id,
        feedback.offer_id,
        feedback.outcome,
        feedback.value,
        at_ms,
        now_ms,
        skew_ms,
        follows,
    )


def _contacts(
    logged: LoggedDecision, outcome: Outcome, earlier: Collection[str], suppress_ms: int
) -> Contacts:
    """Make the contacts of an outcome that came when the decision had left Redis."""
    decision, contacts = logged.decision, logged.decision.contacts
    if contacts is None or "withdrawn" in earlier:
        return NO_CONTACTS
    offers = [offer.offer_id for offer in decision.offers]
    contact = contacts.offers[offers.index(outcome.offer_id)]
    at_ms = min(outcome.at_ms, outcome.recorded_ms)
    kinds = [outcome.outcome]
    if "released" in earlier and contact.counts:
        kinds.append("decided")
    members = []
    for kind in kinds:
        letter, slot = outcome_contact(kind, decision.channel or "", counts=contact.counts)
        made = Contact(outcome.offer, at_ms, contact.group, contact.goal, letter, slot)
        members.append((at_ms, history_member(made, decision.decision_id)))
    for letter, slot in suppressing(outcome.causes, decision.channel or "", counts=contact.counts):
        made = Contact(outcome.offer, at_ms, contact.group, contact.goal, letter, slot)
        members.append((at_ms, history_member(made, decision.decision_id)))
    return Contacts(decision.customer_id, max(contacts.keep_ms, suppress_ms), members)


def _undeclared(outcome: str, declared: Collection[str]) -> Invalid:
    known = sorted({*BUILT_IN, *declared})
    near = get_close_matches(outcome, known, n=1, cutoff=0.6)
    way_out = f"did you mean {near[0]!r}?" if near else f"declare it with PUT /v1/outcomes/{outcome}"
    return Invalid("outcome", f"should be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}; {way_out}")


def _no_reason(reason: str, declared: Collection[str]) -> Invalid:
    near = get_close_matches(reason, declared, n=1, cutoff=0.6)
    way_out = f"did you mean {near[0]!r}?" if near else f"declare it with PUT /v1/reasons/{reason}"
    return Invalid("reason", f"there is no reason {reason!r}; {way_out}")


def _not_offered(feedback: Feedback) -> Invalid:
    return Invalid("offer_id", f"{feedback.offer_id!r} was not among the offers of this decision")


def _too_early() -> Invalid:
    return Invalid("occurred_at", "lies before the decision; send the time at which the outcome happened")


def _contradicts(feedback: Feedback, earlier: str) -> Conflict:
    return Conflict(f"{feedback.offer_id!r} was already {earlier} in this decision; the first answer counts")
