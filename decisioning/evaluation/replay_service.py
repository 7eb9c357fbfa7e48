"""Replay: logged decisions made again from the log alone, to be compared bit for bit, and explained."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import astuple, replace

from bandits.policy import NO_FACTS
from bandits.sequential_policy import LearnedState, ModelState, is_sequential
from bandits.state import ArmTable
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.catalog.store import CatalogueStore
from decisioning.decide.answer import customer_of
from decisioning.decide.eligibility import EligibilityInputs
from decisioning.decide.explanation import Situation, explain
from decisioning.decide.facts import facts_of, history_facts
from decisioning.decide.policy_runner import adjust_weights_for_group
from decisioning.decide.ranking import SelectionContext, SharedLimits, apply_switches, select
from decisioning.decide.told import told_of
from decisioning.errors import LogCodecError, NotFound
from decisioning.evaluation.model_replay_service import ModelReplay, ReplayImpossible
from decisioning.learning.fold import fold_outcomes
from decisioning.learning.replica import prepare
from decisioning.learning.store_arms import GENERATION
from decisioning.learning.store_linearisation import find_linearisation
from decisioning.log.codec import as_json
from decisioning.log.store_archive import ArchiveReader
from decisioning.model.decision import (
    RUNTIME,
    CustomerSnapshot,
    DecidedOffer,
    Decision,
    LoggedDecision,
    LoggedFactors,
)
from decisioning.model.position import StreamPosition
from decisioning.model.selection import Choice, Selection, Withheld
from decisioning.policies.roster import Roster
from profiles.customer import Profile
from rules.evaluation import evaluate
from storage.clock import to_datetime


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """A logged decision, and what its policy chooses in the same place.

    ``key``: the policy that scored it, as ``name@version``. ``selection_context``: as that policy saw it, for its
    group.
    """

    logged: LoggedDecision
    key: str
    catalogue: Catalogue
    selection_context: SelectionContext
    selection: Selection


async def replay_decision(
    decision_id: str, log: ArchiveReader, catalogues: CatalogueStore, roster: Roster
) -> ReplayedDecision:
    """Make an archived decision again: same id, catalogue, policy, and arms folded from the same part of the log.

    Raises
    ------
    NotFound
        If the decision is not archived (yet).
    ReplayImpossible
        If it was not made by a policy here (imported history), or the log does not reach its arms' position yet.
    PostgresUnavailable
        If the log or the catalogue cannot be read.
    """
    logged = await log.decision(decision_id)
    if logged is None:
        raise NotFound("archived decision", decision_id)
    decision, key = logged.decision, logged.decision.scorer
    if decision.source != "live" or key not in roster:
        raise ReplayImpossible(
            f"decision {decision_id!r} was made elsewhere, by {key}: there is nothing here to make it again from"
        )
    catalogue = await catalogues.load(decision.catalog_version)
    view = catalogue.view(decision.placement)
    arms = await arms_at(log, key, roster, decision.epoch)
    prepared = prepare(roster[key], arms, view, decision.decided_at_ms)
    selection_context = adjust_weights_for_group(
        logged_context(view, logged), decision.group, roster.spec(key)
    )
    return ReplayedDecision(
        logged, key, catalogue, selection_context, select(selection_context, roster[key], prepared)
    )


async def arms_at(log: ArchiveReader, key: str, roster: Roster, epoch: int) -> LearnedState:
    """The arms, or the model, as they were at ``epoch``, from the archived log. Raises ``ReplayImpossible``."""
    policy, spec = roster[key], roster.spec(key)
    dropped = await log.dropped() if policy.width or is_sequential(policy) else {}
    if is_sequential(policy):
        _require_outcomes(key, dropped, {})
        return ModelState(await ModelReplay(log, spec, policy).model_at(epoch), epoch)
    table = ArmTable(policy.width, epoch)
    if policy.width == 0:  # it learns nothing, so no fold of it was ever archived
        return table
    try:
        base = await log.checkpoint(key, epoch)
        positions = await log.positions_at(key, epoch, base)
    except LogCodecError as error:
        raise ReplayImpossible(f"a checkpoint cannot be read here: {error}") from error
    if positions is None:
        raise ReplayImpossible(f"epoch {epoch} of {key} is not archived (yet)")
    behind: Mapping[int, StreamPosition] = {}
    # Arms of another generation were folded in another way.
    if base is not None and base.epoch // GENERATION == epoch // GENERATION:
        await asyncio.to_thread(table.put_all, base.fields.items())
        behind = base.positions
    _require_outcomes(key, dropped, behind)
    linearisation = await find_linearisation(log, key, policy, epoch // GENERATION)
    async for outcomes in log.observations(positions, behind=behind):
        # In a thread, since there may be many, and the event loop has to go on.
        deltas, _ = await asyncio.to_thread(fold_outcomes, outcomes, spec, policy, linearisation)
        for name, delta in deltas.items():
            table.add(name, delta)
    return table


def _require_outcomes(
    key: str, dropped: Mapping[int, StreamPosition], behind: Mapping[int, StreamPosition]
) -> None:
    """Raise ``ReplayImpossible`` if outcomes that were ``dropped`` would have to be folded behind these positions."""
    if any(behind.get(bucket, StreamPosition.START) < last for bucket, last in dropped.items()):
        raise ReplayImpossible(f"outcomes that {key} had learned from by then are older than the log is kept")


def logged_context(view: PlacementView, logged: LoggedDecision) -> SelectionContext:
    """Rebuild the context of a decision: the same candidates, with what the request made of them as it was logged."""
    decision = logged.decision
    row_of = {number: row for row, number in enumerate(view.numbers.tolist())}
    try:
        rows = [row_of[number] for number in logged.candidates.tolist()]
    except KeyError:
        raise ReplayImpossible("the catalogue at that version lacks a candidate of this decision") from None
    available = np.zeros(len(view.numbers), dtype=bool)
    available[rows] = True
    base_propensities = np.full(len(view.numbers), np.nan, dtype=np.float32)
    base_propensities[rows] = logged.base_propensities
    wanted = decision.caller_choice
    c, v = np.ones(len(view.numbers)), view.value.copy()
    if logged.factors is not None:
        c[rows], v[rows] = logged.factors
    return SelectionContext(
        view=view,
        available=available,
        base_propensities=base_propensities,
        weights=apply_switches(view, c, v),
        now_ms=decision.decided_at_ms,
        slots=decision.slots,
        decision_id=decision.decision_id,
        facts=decision.facts or NO_FACTS,
        caller_choice=None if wanted is None else tuple(row_of[n] for n in wanted if n in row_of),
        limits=_logged_limits(decision),
    )


def _logged_limits(decision: Decision) -> SharedLimits | None:
    """Rebuild the limits that slots were drawn within; early versions drew without regard to them."""
    snapshot = decision.customer_snapshot
    if decision.units is None or snapshot is None:
        return None
    return SharedLimits(
        customer_of(decision.customer_id, snapshot),
        snapshot.history or (),
        decision.units,
        snapshot.household or (),
    )


def logged_inputs(catalogue: Catalogue, view: PlacementView, logged: LoggedDecision) -> EligibilityInputs:
    """Rebuild what eligibility depended on when a decision was made. ``catalogue``, ``view``: those of its time."""
    decision, now_ms = logged.decision, logged.decision.decided_at_ms
    snapshot = decision.customer_snapshot or CustomerSnapshot()
    customer = customer_of(decision.customer_id, snapshot)
    history = snapshot.history
    facts = {
        **facts_of(customer, decision.context, view.placement, told_of(snapshot)),
        **history_facts(view, (), {}, history, now_ms),
    }
    return EligibilityInputs(
        catalogue=catalogue,
        view=view,
        profile=Profile(customer, logged.candidates, logged.base_propensities),
        history=history,
        evaluation=evaluate(view.plan, facts, to_datetime(now_ms)),
        exhausted=frozenset(snapshot.exhausted),
        now_ms=now_ms,
        eligibility_only=decision.group == "eligibility_only",
        holdouts=decision.holdouts or (),
        household=snapshot.household,
    )


class LoggedContexts:
    """Rebuilds the contexts of logged decisions, one after another, with the catalogue of their time."""

    def __init__(self, catalogues: CatalogueStore) -> None:
        self._catalogues = catalogues

    async def of(self, logged: LoggedDecision) -> SelectionContext | None:
        """Rebuild one context; ``None`` if the decision was not made here, or the catalogue does not tell."""
        decision = logged.decision
        if decision.source != "live":
            return None
        catalogue = await self._catalogues.load(decision.catalog_version)
        try:
            return logged_context(catalogue.view(decision.placement), logged)
        except (NotFound, ReplayImpossible):
            return None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A logged decision beside its replay: offer, rank, probability, score and factors by slot.

    ``runtime``: the versions that it was decided with; ``None`` if they were not logged yet.
    """

    decision_id: str
    policy: str
    epoch: int
    catalog_version: int
    runtime: str | None
    logged: list[DecidedOffer]
    replayed: list[DecidedOffer]

    @property
    def identical(self) -> bool:
        """True if they are equal bit for bit."""
        return self.logged == self.replayed

    @property
    def difference(self) -> float | None:
        """The largest relative difference of a number, where the offers and their ranks are the same."""
        if [(o.offer_id, o.rank) for o in self.logged] != [(o.offer_id, o.rank) for o in self.replayed]:
            return None
        pairs = zip(map(_numbers, self.logged), map(_numbers, self.replayed), strict=True)
        flat = [(a, b) for one, other in pairs for a, b in zip(one, other, strict=True)]
        return max((abs(a - b) / max(abs(a), abs(b)) for a, b in flat if a != b), default=0.0)

    @property
    def caveat(self) -> str | None:
        """The reason why last bits may differ: other versions computed it; ``None`` if it was the same ones."""
        if self.runtime == RUNTIME:
            return None
        if self.runtime is None:
            return (
                "it was decided by an earlier build, whose arithmetic differs from this one in the last bits"
            )
        return f"it was decided with {self.runtime}, and this is {RUNTIME}: last bits may differ"


async def replay(
    decision_id: str, log: ArchiveReader, catalogues: CatalogueStore, roster: Roster
) -> Replayed:
    """Make an archived decision again, and put what comes of it beside what was logged.

    Raises as ``replay_decision``.
    """
    replayed = await replay_decision(decision_id, log, catalogues, roster)
    decision = replayed.logged.decision
    return Replayed(
        decision_id=decision_id,
        policy=replayed.key,
        epoch=decision.epoch,
        catalog_version=decision.catalog_version,
        runtime=decision.runtime,
        # Without texts, which are no part of a ranking.
        logged=[replace(offer, treatment=None) for offer in decision.offers],
        replayed=[_compared(choice) for choice in replayed.selection.choices],
    )


def _numbers(offer: DecidedOffer) -> tuple[float, ...]:
    f = offer.factors or LoggedFactors()
    return (offer.score or 0.0, offer.probability or 0.0, f.P, f.C, f.V, f.L)


def _compared(choice: Choice) -> DecidedOffer:
    f = choice.factors
    factors = LoggedFactors(f.P, f.C, f.V, f.L)
    return DecidedOffer(choice.offer.offer_id, choice.rank, choice.score, factors, choice.probability)


async def explain_logged(
    decision_id: str, log: ArchiveReader, catalogues: CatalogueStore, roster: Roster
) -> dict[str, Any]:
    """Explain an archived decision from the log alone. Raises as ``replay_decision``."""
    replayed = await replay_decision(decision_id, log, catalogues, roster)
    if replayed.logged.decision.erased:
        raise ReplayImpossible(
            f"the customer of decision {decision_id!r} was erased since: it can be replayed, and not be explained"
        )
    return {
        "decision_id": decision_id,
        "policy": as_json(replayed.logged.decision.policy),
        "candidates": explain(_situation(replayed)),
    }


def _situation(replayed: ReplayedDecision) -> Situation:
    """The decision as it was when it was made: what was known of the customer, and what that came to."""
    logged, view = replayed.logged, replayed.selection_context.view
    inputs = logged_inputs(replayed.catalogue, view, logged)
    snapshot = logged.decision.customer_snapshot or CustomerSnapshot()
    propensities = _propensities(view, replayed.selection, snapshot)
    withheld = tuple(Withheld(*astuple(one)) for one in snapshot.withheld)
    return Situation(inputs, replayed.selection_context.weights, propensities, replayed.selection, withheld)


def _propensities(view: PlacementView, selection: Selection, snapshot: CustomerSnapshot) -> list[float]:
    # Offers below their minimum were no candidates any more: theirs stand in the log alone.
    found: list[float] = [] if selection.propensities is None else selection.propensities.tolist()
    unlikely = dict(snapshot.unlikely) | {one.number: one.propensity for one in snapshot.withheld}
    return [unlikely.get(number, found[row]) for row, number in enumerate(view.numbers.tolist())]
