"""Decisions: read, choose, reserve and log, answer; in time, whatever fails."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bandits.policy import BoolArray, Policy
from decisioning.arbitration import Weights, weigh
from decisioning.catalog import Catalogue, PlacementView
from decisioning.contact import Contact
from decisioning.engine import Contest, Selection, allowed, in_control_group, select
from decisioning.errors import Conflict, Invalid, PostgresUnavailable, RedisUnavailable
from decisioning.explain import Situation, explain
from decisioning.facts import facts_of, instant
from decisioning.keys import Keys, bucket_of_generated, generated_id
from decisioning.records import Header, answer
from decisioning.replica import ArmReplica
from decisioning.seen import seen
from decisioning.service.answers import Speech, chosen, default, iso
from decisioning.service.explaining import propensities_of
from decisioning.service.ports import DecisionLog, NoUnits, ProfileSource, Units
from decisioning.stores.log import ReadReply
from profiles.customer import Profile
from rules.evaluation import Evaluation, evaluate

log = logging.getLogger(__name__)

SLOW_TURNS = 3
SLOW_PAUSE_MS = 1000
WITHDRAW_TRIES = 60
WITHDRAW_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request. ``decision_id`` is the caller's own id, if any."""

    customer_id: str
    placement: str
    context: Mapping[str, Any]
    limit: int | None = None
    decision_id: str | None = None
    deadline_ms: int | None = None
    dry_run: bool = False
    explain: bool = False


@dataclass(slots=True)
class _Work:
    """One request on its way."""

    request: Request
    view: PlacementView
    catalogue: Catalogue
    decision_id: str
    now_ms: int
    profile: Profile = field(init=False)
    evaluation: Evaluation = field(init=False)
    weights: Weights = field(init=False)
    contest: Contest = field(init=False)
    selection: Selection | None = None
    history: Sequence[Contact] | None = None
    exhausted: frozenset[int] = frozenset()
    degraded: list[str] = field(default_factory=list)
    writing: "tuple[asyncio.Task[Any], Header] | None" = None


@dataclass(slots=True)
class _Turns:
    """How a policy has kept its time lately."""

    slow: int = 0
    paused_until_ms: int = 0


class DecisionService:
    """Answers requests. Everything that it needs is given to it."""

    def __init__(
        self,
        *,
        catalogue: Callable[[], Catalogue],
        replica: ArmReplica,
        policies: Mapping[str, Policy],
        decision_log: DecisionLog,
        profiles: ProfileSource,
        keys: Keys,
        clock_ms: Callable[[], int],
        entropy: Callable[[], bytes],
        units: Units | None = None,
        policy_budget_ms: float = 20.0,
    ) -> None:
        self._catalogue = catalogue
        self._replica = replica
        self._policies = policies
        self._log = decision_log
        self._profiles = profiles
        self._keys = keys
        self._clock_ms = clock_ms
        self._entropy = entropy
        self._units = units or NoUnits()
        self._budget_ms = policy_budget_ms
        self._turns: dict[str, _Turns] = {}
        self._background: set[asyncio.Task[Any]] = set()

    async def decide(self, request: Request) -> Header:
        """The answer to a request (the keys of ``records.ANSWER_KEYS``).

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
        if own_id is not None and bucket_of_generated(own_id) is not None:
            raise Invalid(
                "decision_id", "ids of this form are made by nextbest; send an id of your own, or none"
            )
        bucket = self._keys.bucket(request.customer_id)
        decision_id = own_id or generated_id(bucket, self._entropy())
        work = _Work(request, view, catalogue, decision_id, self._clock_ms())
        deadline_ms = request.deadline_ms or view.placement.deadline_ms
        try:
            async with asyncio.timeout(deadline_ms / 1000.0):
                header = await self._decide(work)
                return answer(header) | self._explanation(work, header)
        except TimeoutError:
            self._take_back(work)
            return answer(self._defaults(work, "deadline_exceeded"))

    def _explanation(self, work: _Work, header: Header) -> Header:
        """Why and why not, if it was asked for and this is a decision that was made now by a policy."""
        key = f"{header['policy']['name']}@{header['policy']['version']}"
        if not work.request.explain or work.selection is None or key not in self._policies:
            return {}
        policy = self._policies[key]
        prepared = self._replica.prepared(key, work.view, work.now_ms)
        situation = Situation(
            catalogue=work.catalogue,
            view=work.view,
            profile=work.profile,
            history=work.history,
            evaluation=work.evaluation,
            weights=work.weights,
            exhausted=work.exhausted,
            now_ms=work.now_ms,
            propensities=propensities_of(work.contest, policy, prepared),
            selection=work.selection,
        )
        return {"explanation": explain(situation)}

    async def close(self) -> None:
        """Wait a little for what still runs in the background."""
        if self._background:
            _, unfinished = await asyncio.wait(self._background, timeout=2 * WITHDRAW_PAUSE_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    async def _decide(self, work: _Work) -> Header:
        request = work.request
        own_id = None if request.dry_run else request.decision_id
        reply: ReadReply | None
        try:
            reply = await self._log.read(request.customer_id, work.view.contact.needed, own_id)
        except RedisUnavailable:
            reply = None
            self._degrade(work, "contact_history_unavailable")
        if reply is not None and own_id is not None and (earlier := self._earlier(work, reply)) is not None:
            return earlier
        profile = await self._profile(work, reply)
        if profile is None:
            return self._defaults(work, "profile_unavailable")
        work.profile = profile
        work.evaluation = self._evaluated(work)
        work.weights = weigh(work.view, work.evaluation)
        available = self._allowed(work, None if reply is None else reply.history)
        return await self._choose(work, available, log_it=reply is not None and not request.dry_run)

    @staticmethod
    def _evaluated(work: _Work) -> Evaluation:
        facts = facts_of(work.profile.customer, work.request.context, work.view.placement)
        return evaluate(work.view.plan, facts, instant(work.now_ms))

    def _allowed(self, work: _Work, history: Sequence[Contact] | None) -> BoolArray:
        work.history = history
        if history is None:  # nothing can be logged, so no unit of capacity can be accounted for
            work.exhausted = self._units.withheld(work.view)
        else:
            work.exhausted = self._units.exhausted(work.view, work.now_ms)
        return allowed(work.view, work.profile, history, work.evaluation, work.exhausted, work.now_ms)

    def _earlier(self, work: _Work, reply: ReadReply) -> Header | None:
        request = work.request
        if reply.owner is not None and reply.owner.split(" ", 1)[1] != request.customer_id:
            raise Conflict(f"the decision id {work.decision_id!r} was used for another customer")
        if reply.earlier is not None and reply.earlier["placement"] != request.placement:
            raise Conflict(f"the decision id {work.decision_id!r} was used for another placement")
        return reply.earlier

    async def _profile(self, work: _Work, reply: ReadReply | None) -> Profile | None:
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
            self._degrade(work, "profile_unavailable")
            return Profile.unreadable(customer_id)

    async def _choose(self, work: _Work, available: BoolArray, *, log_it: bool) -> Header:
        while True:
            selection, header = self._select(work, available)
            if not log_it:
                return header | {"feedback_until": None}
            taken = await self._units.take(work.view, selection.choices, work.now_ms)
            if taken.lacking is not None:
                available[taken.lacking] = False
                work.exhausted |= {work.view.offers[taken.lacking].number}
                continue
            header |= taken.logged
            task = self._log.decide(
                header, selection, work.view, work.profile.customer, taken.before_ms
            )
            task.add_done_callback(partial(self._units.done, taken))
            work.writing = (task, header)
            try:
                reply = await asyncio.shield(task)
            except RedisUnavailable:
                work.writing = None
                return self._unlogged(work, header, selection, withhold=bool(taken.units))
            work.writing = None
            if reply.written:
                return header
            if reply.earlier is not None:
                return reply.earlier
            for row, offer in enumerate(work.view.offers):
                if offer.offer_id in reply.reached:
                    available[row] = False

    def _unlogged(self, work: _Work, header: Header, selection: Selection, *, withhold: bool) -> Header:
        """Redis was lost while writing, so it is not known whether it was written.

        The answer stands if no limit had to be reserved, nor a unit of capacity. Otherwise it is chosen anew
        without such offers, and under another id, so that it cannot be mixed up with what may have been written. In
        either case nobody will send feedback, so what was written is taken back, lest silence be learned from.
        """
        self._degrade(work, "contact_history_unavailable")
        self._in_background(self._withdraw(header))
        view = work.view
        limited = any(
            view.contact.limited(choice.row, work.profile.customer) for choice in selection.choices
        )
        if withhold or (limited and view.placement.without_history == "withhold"):
            if work.request.decision_id is None:
                work.decision_id = generated_id(self._keys.bucket(work.request.customer_id), self._entropy())
            _, header = self._select(work, self._allowed(work, None))
        return header | {"feedback_until": None}

    def _select(self, work: _Work, available: BoolArray) -> tuple[Selection, Header]:
        """Choose with the placement's policy (or its control policy), or with the fallback if that fails."""
        view, placement = work.view, work.view.placement
        control = in_control_group(work.request.customer_id, placement)
        key = f"{placement.control_policy if control else placement.policy}@1"
        contest = Contest(
            view=view,
            available=available,
            priors=work.profile.dense(view.numbers),
            weights=work.weights,
            now_ms=work.now_ms,
            slots=min(work.request.limit or placement.slots, placement.slots),
            decision_id=work.decision_id,
        )
        work.contest = contest
        selection = self._tried(work, contest, key)
        if selection is None:
            key = f"{placement.fallback_policy}@1"
            prepared = self._replica.prepared(key, view, work.now_ms)
            selection = select(contest, self._policies[key], prepared)
        work.selection = selection
        return selection, self._header(work, key, control, contest.slots, selection)

    def _tried(self, work: _Work, contest: Contest, key: str) -> Selection | None:
        """A policy's selection; ``None`` if it cannot or should not be used now, with the reason noted."""
        turns = self._turns.setdefault(key, _Turns())
        if self._replica.epoch(key) is None:
            self._degrade(work, "arms_unavailable")
            return None
        if work.now_ms < turns.paused_until_ms:
            self._degrade(work, "policy_slow")
            return None
        started = asyncio.get_running_loop().time()
        try:
            prepared = self._replica.prepared(key, contest.view, work.now_ms)
            selection = select(contest, self._policies[key], prepared)
        except Exception:
            log.exception("policy %s failed", key)
            self._degrade(work, "policy_failed")
            return None
        self._keep_time(turns, work.now_ms, (asyncio.get_running_loop().time() - started) * 1000)
        return selection

    def _keep_time(self, turns: _Turns, now_ms: int, took_ms: float) -> None:
        turns.slow = turns.slow + 1 if took_ms > self._budget_ms else 0
        if turns.slow >= SLOW_TURNS:
            turns.slow = 0
            turns.paused_until_ms = now_ms + SLOW_PAUSE_MS

    @staticmethod
    def _degrade(work: _Work, reason: str) -> None:
        if reason not in work.degraded:
            work.degraded.append(reason)

    def _header(self, work: _Work, key: str, control: bool, slots: int, selection: Selection) -> Header:
        placement = work.view.placement
        name, _, version = key.rpartition("@")
        until_ms = work.now_ms + placement.reward_window_s * 1000
        speech = _speech(work)
        return {
            "decision_id": work.decision_id,
            "customer_id": work.request.customer_id,
            "placement": placement.placement_id,
            "channel": placement.channel,
            "presentation": placement.presentation,
            "policy": {"name": name, "version": int(version)},
            "control": control,
            "catalog_version": work.catalogue.version,
            "epoch": (self._replica.epoch(key) or 0) if key in self._policies else 0,
            "decided_at_ms": work.now_ms,
            "until_ms": until_ms,
            "context": work.request.context,
            "limit": work.request.limit,
            "slots": slots,
            "offers": [chosen(choice, work.view, speech) for choice in selection.choices],
            "numbers": [choice.offer.number for choice in selection.choices],
            "degraded": work.degraded,
            "feedback_until": iso(until_ms),
            "source": "live",
            "contact": work.view.contact.remembered(
                [choice.row for choice in selection.choices], work.now_ms, until_ms
            ),
            "seen": seen(work.view, work.profile.customer, work.history, work.exhausted),
        }

    def _defaults(self, work: _Work, reason: str) -> Header:
        """The placement's default offers, for a customer of whom nothing is known: none that needs consent."""
        self._degrade(work, reason)
        work.profile = Profile.unreadable(work.request.customer_id)
        work.evaluation = self._evaluated(work)
        view, placement = work.view, work.view.placement
        available = self._allowed(work, None)
        by_id = {o.offer_id: row for row, o in enumerate(view.offers) if available[row]}
        rows = [by_id[o] for o in placement.default_offers if o in by_id]
        slots = min(work.request.limit or placement.slots, placement.slots)
        nothing = Selection((), view.numbers[:0], np.zeros(0, np.float32))
        header = self._header(work, "default@1", False, slots, nothing)
        speech = _speech(work)
        header["offers"] = [
            default(view, row, rank, speech) for rank, row in enumerate(rows[:slots], start=1)
        ]
        return header | {"feedback_until": None}

    def _take_back(self, work: _Work) -> None:
        """The answer came too late to be given: undo what was reserved and logged, once it is known."""
        if work.writing is None:
            return
        write, header = work.writing

        async def undo() -> None:
            try:
                written = (await write).written
            except RedisUnavailable:
                written = True  # perhaps; then withdrawing does nothing
            if written:
                await self._withdraw(header)

        self._in_background(undo())

    async def _withdraw(self, header: Header) -> None:
        """Take a decision back as soon as Redis answers, if that is not too long."""
        decision_id = header["decision_id"]
        for _ in range(WITHDRAW_TRIES):
            try:
                await self._log.withdraw(
                    header["customer_id"], decision_id, header["decided_at_ms"], self._clock_ms()
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


def _speech(work: _Work) -> Speech:
    return Speech(work.request.context, work.profile.customer, work.evaluation)
