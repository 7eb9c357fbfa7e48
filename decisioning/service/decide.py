"""Decisions: read, choose, reserve and log, answer; in time, whatever fails."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandits.policy import BoolArray, Policy
from decisioning.catalog import Catalogue, PlacementView
from decisioning.engine import Selection, allowed, in_control_group, select
from decisioning.errors import Conflict, Invalid, PostgresUnavailable, RedisUnavailable
from decisioning.keys import Keys, generated_id, is_reserved
from decisioning.records import Header, answer
from decisioning.replica import ArmReplica
from decisioning.service.answers import default_offer, iso, offer_of
from decisioning.service.history import archived_answer
from decisioning.service.ports import Archive, DecisionLog, ProfileSource
from decisioning.stores.log import ReadReply
from profiles.customer import Profile

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


@dataclass(slots=True)
class _Work:
    """One request on its way."""

    request: Request
    view: PlacementView
    catalogue_version: int
    decision_id: str
    now_ms: int
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
        archive: Archive,
        profiles: ProfileSource,
        keys: Keys,
        clock_ms: Callable[[], int],
        entropy: Callable[[], bytes],
        policy_budget_ms: float = 20.0,
    ) -> None:
        self._catalogue = catalogue
        self._replica = replica
        self._policies = policies
        self._log = decision_log
        self._archive = archive
        self._profiles = profiles
        self._keys = keys
        self._clock_ms = clock_ms
        self._entropy = entropy
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
        if own_id is not None and is_reserved(own_id):
            raise Invalid(
                "decision_id", "ids of this form are made by nextbest; send an id of your own, or none"
            )
        bucket = self._keys.bucket(request.customer_id)
        decision_id = own_id or generated_id(bucket, self._entropy())
        work = _Work(request, view, catalogue.version, decision_id, self._clock_ms())
        deadline_ms = request.deadline_ms or view.placement.deadline_ms
        try:
            async with asyncio.timeout(deadline_ms / 1000.0):
                return answer(await self._decide(work))
        except TimeoutError:
            self._take_back(work)
            return answer(self._defaults(work, "deadline_exceeded"))

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
            reply = await self._log.read(request.customer_id, bool(work.view.limited), own_id)
        except RedisUnavailable:
            reply = None
            self._degrade(work, "contact_history_unavailable")
        if reply is not None and own_id is not None:
            earlier = await self._earlier(work, reply)
            if earlier is not None:
                return earlier
        profile = await self._profile(work, reply)
        if profile is None:
            return self._defaults(work, "profile_unavailable")
        history = None if reply is None else reply.history
        available = allowed(work.view, profile, history, work.now_ms)
        return await self._choose(work, profile, available, log_it=reply is not None and not request.dry_run)

    async def _earlier(self, work: _Work, reply: ReadReply) -> Header | None:
        """What was answered under the caller's own id before; it leaves Redis a day after its reward window."""
        request, earlier = work.request, reply.earlier
        if reply.owner is not None and reply.owner.split(" ", 1)[1] != request.customer_id:
            raise Conflict(f"the decision id {work.decision_id!r} was used for another customer")
        if earlier is None and reply.owner is not None:
            try:
                earlier = await archived_answer(work.decision_id, self._archive)
            except PostgresUnavailable:
                self._degrade(work, "earlier_answer_unavailable")
        if earlier is not None and earlier["placement"] != request.placement:
            raise Conflict(f"the decision id {work.decision_id!r} was used for another placement")
        return earlier

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
            return Profile.unknown(customer_id)

    async def _choose(self, work: _Work, profile: Profile, available: BoolArray, *, log_it: bool) -> Header:
        placement = work.view.placement
        control = in_control_group(profile.customer.customer_id, placement)
        name = placement.control_policy if control else placement.policy
        slots = min(work.request.limit or placement.slots, placement.slots)
        while True:
            key, epoch, selection = self._select(work, profile, available, name, slots)
            header = self._header(work, profile, key, epoch, control, selection)
            if not log_it:
                header["feedback_until"] = None
                return header
            strict = placement.without_history == "withhold"
            task = self._log.decide(header, selection, work.view.history_ms, strict=strict)
            work.writing = (task, header)
            try:
                reply = await asyncio.shield(task)
            except RedisUnavailable:
                work.writing = None
                return self._unlogged(work, profile, header, selection)
            work.writing = None
            if reply.written:
                return header
            if reply.earlier is not None:
                return reply.earlier
            if reply.lost:
                self._degrade(work, "contact_history_unavailable")
            for row, offer in enumerate(work.view.offers):
                if offer.offer_id in reply.reached or (reply.lost and offer.contact_limits):
                    available[row] = False

    def _unlogged(self, work: _Work, profile: Profile, header: Header, selection: Selection) -> Header:
        """Redis was lost while writing, so it is not known whether it was written.

        The answer stands if no limit had to be reserved. Otherwise it is chosen anew without the limited
        offers, and under another id, so that it cannot be mixed up with what may have been written. In either case
        nobody will send feedback, so what was written is taken back, lest silence be learned from.
        """
        self._degrade(work, "contact_history_unavailable")
        self._in_background(self._withdraw(header))
        placement = work.view.placement
        limited = any(choice.offer.contact_limits for choice in selection.choices)
        if limited and placement.without_history == "withhold":
            if work.request.decision_id is None:
                work.decision_id = generated_id(self._keys.bucket(work.request.customer_id), self._entropy())
            available = allowed(work.view, profile, None, work.now_ms)
            control = header["control"]
            name = placement.control_policy if control else placement.policy
            key, epoch, selection = self._select(work, profile, available, name, header["slots"])
            header = self._header(work, profile, key, epoch, control, selection)
        return header | {"feedback_until": None}

    def _select(
        self, work: _Work, profile: Profile, available: BoolArray, name: str, slots: int
    ) -> tuple[str, int, Selection]:
        """Choose with the policy ``name``, or with the placement's fallback if it fails or is not to be used."""
        view = work.view
        priors = profile.dense(view.numbers)
        key = f"{name}@1"
        turns = self._turns.setdefault(key, _Turns())
        epoch = self._replica.epoch(key)
        if epoch is None:
            self._degrade(work, "arms_unavailable")
        elif work.now_ms < turns.paused_until_ms:
            self._degrade(work, "policy_slow")
        else:
            started = asyncio.get_running_loop().time()
            try:
                prepared = self._replica.prepared(key, view, work.now_ms)
                selection = select(
                    view, available, priors, self._policies[key], prepared, slots, work.decision_id
                )
            except Exception:
                log.exception("policy %s failed", key)
                self._degrade(work, "policy_failed")
            else:
                self._keep_time(turns, work.now_ms, (asyncio.get_running_loop().time() - started) * 1000)
                return key, epoch, selection
        key = f"{view.placement.fallback_policy}@1"
        prepared = self._replica.prepared(key, view, work.now_ms)
        selection = select(view, available, priors, self._policies[key], prepared, slots, work.decision_id)
        return key, self._replica.epoch(key) or 0, selection

    def _keep_time(self, turns: _Turns, now_ms: int, took_ms: float) -> None:
        turns.slow = turns.slow + 1 if took_ms > self._budget_ms else 0
        if turns.slow >= SLOW_TURNS:
            turns.slow = 0
            turns.paused_until_ms = now_ms + SLOW_PAUSE_MS

    @staticmethod
    def _degrade(work: _Work, reason: str) -> None:
        if reason not in work.degraded:
            work.degraded.append(reason)

    def _header(
        self, work: _Work, profile: Profile, key: str, epoch: int, control: bool, selection: Selection
    ) -> Header:
        placement = work.view.placement
        name, _, version = key.rpartition("@")
        until_ms = work.now_ms + placement.reward_window_s * 1000
        language = profile.customer.attributes.get("language")
        return {
            "decision_id": work.decision_id,
            "customer_id": work.request.customer_id,
            "placement": placement.placement_id,
            "channel": placement.channel,
            "presentation": placement.presentation,
            "policy": {"name": name, "version": int(version)},
            "control": control,
            "catalog_version": work.catalogue_version,
            "epoch": epoch,
            "decided_at_ms": work.now_ms,
            "until_ms": until_ms,
            "context": work.request.context,
            "limit": work.request.limit,
            "slots": min(work.request.limit or placement.slots, placement.slots),
            "offers": [offer_of(choice, placement.channel, language) for choice in selection.choices],
            "numbers": [choice.offer.number for choice in selection.choices],
            "degraded": work.degraded,
            "feedback_until": iso(until_ms),
            "source": "live",
        }

    def _defaults(self, work: _Work, reason: str) -> Header:
        """The placement's default offers: only live ones that need no consent and have no limit to keep."""
        self._degrade(work, reason)
        profile = Profile.unknown(work.request.customer_id)
        available = allowed(work.view, profile, None, work.now_ms)
        by_id = {o.offer_id: row for row, o in enumerate(work.view.offers) if available[row]}
        rows = [by_id[o] for o in work.view.placement.default_offers if o in by_id]
        slots = min(work.request.limit or work.view.placement.slots, work.view.placement.slots)
        header = self._header(
            work,
            profile,
            "default@1",
            0,
            False,
            Selection((), work.view.numbers[:0], np.zeros(0, np.float32)),
        )
        header["offers"] = [
            default_offer(work.view, row, rank) for rank, row in enumerate(rows[:slots], start=1)
        ]
        header["feedback_until"] = None
        return header

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
