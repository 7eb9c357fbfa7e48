"""Decisions as they were logged, looked up and made again from the log alone."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bandits.policy import NO_FACTS
from bandits.sequential_policy import LearnedState, ModelState, is_sequential
from bandits.state import ArmTable
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.placement_view import PlacementView
from decisioning.decide.arbitration import apply_switches
from decisioning.decide.assignment import adjust_weights_for_group
from decisioning.decide.ranking import SelectionContext, select
from decisioning.errors import NotFound
from decisioning.evaluation.model_replay_service import ModelReplay, ModelReplayLog, ReplayImpossible
from decisioning.learning.fold import fold_outcomes
from decisioning.learning.replica import prepare
from decisioning.log.records import Decided, Header, Outcome, group_of
from decisioning.model.selection import Selection
from decisioning.policies.roster import Roster

KEPT = 8
"""Versions of the catalogue that are kept at hand."""


class Log(ModelReplayLog, Protocol):
    """The archived log. Methods raise ``PostgresUnavailable``."""

    async def decision(self, decision_id: str) -> Decided | None: ...

    def observations(self, up_to: Mapping[int, str] | None = None) -> AsyncIterator[list[Outcome]]: ...


class Catalogues(Protocol):
    """Catalogues by version. Raises ``PostgresUnavailable``."""

    async def load(self, version: int | None = None) -> Catalogue: ...


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """A logged decision, and what its policy chooses in the same place.

    ``key``: the policy that scored it, as ``name@version``. ``selection_context``: as that policy saw it, for its
    group.
    """

    decided: Decided
    key: str
    catalogue: Catalogue
    selection_context: SelectionContext
    selection: Selection


async def replay_decision(
    decision_id: str, log: Log, catalogues: Catalogues, roster: Roster
) -> ReplayedDecision:
    """Make an archived decision again: same id, catalogue, policy, and arms folded from the same part of the log.

    Raises
    ------
    NotFound
        If the decision is not archived (yet).
    ReplayImpossible
        If it was not made by a policy here (imported history), or the log does not reach its arms' position yet.
    """
    decided = await log.decision(decision_id)
    if decided is None:
        raise NotFound("archived decision", decision_id)
    header = decided.header
    key = scored_by(header)
    if header["source"] != "live" or key not in roster:
        raise ReplayImpossible(
            f"decision {decision_id!r} was made elsewhere, by {key}: there is nothing here to make it again from"
        )
    catalogue = await catalogues.load(header["catalog_version"])
    view = catalogue.view(header["placement"])
    arms = await arms_at(log, key, roster, header["epoch"])
    prepared = prepare(roster[key], arms, view, header["decided_at_ms"])
    selection_context = adjust_weights_for_group(
        logged_context(view, decided), group_of(header), roster.spec(key)
    )
    return ReplayedDecision(
        decided, key, catalogue, selection_context, select(selection_context, roster[key], prepared)
    )


def scored_by(header: Header) -> str:
    """The policy that scored a decision, as ``name@version``: also where the caller's own choice was answered."""
    policy = header.get("scored_by") or header["policy"]
    return f"{policy['name']}@{policy['version']}"


async def arms_at(log: Log, key: str, roster: Roster, epoch: int) -> LearnedState:
    """The arms, or the model, as they were at ``epoch``, from the archived log. Raises ``ReplayImpossible``."""
    policy, spec = roster[key], roster.spec(key)
    if is_sequential(policy):
        return ModelState(await ModelReplay(log, spec, policy).model_at(epoch), epoch)
    table = ArmTable(policy.width, epoch)
    if policy.width == 0:
        return table
    positions = await log.positions_at(key, epoch)
    if positions is None:
        raise ReplayImpossible(f"epoch {epoch} of {key} is not archived (yet)")
    async for outcomes in log.observations(positions):
        for name, delta in fold_outcomes(outcomes, spec, policy)[0].items():
            table.add(name, delta)
    return table


def logged_context(view: PlacementView, decided: Decided) -> SelectionContext:
    """The contest as it was: the same candidates, with what the request made of them as it was logged."""
    header = decided.header
    row_of = {number: row for row, number in enumerate(view.numbers.tolist())}
    try:
        rows = [row_of[number] for number in decided.candidates.tolist()]
    except KeyError:
        raise ReplayImpossible("the catalogue at that version lacks a candidate of this decision") from None
    available = np.zeros(len(view.numbers), dtype=bool)
    available[rows] = True
    base_propensities = np.full(len(view.numbers), np.nan, dtype=np.float32)
    base_propensities[rows] = decided.base_propensities
    wanted = header.get("wanted")
    c, v = np.ones(len(view.numbers)), view.value.copy()
    if decided.factors is not None:
        c[rows], v[rows] = decided.factors
    return SelectionContext(
        view=view,
        available=available,
        base_propensities=base_propensities,
        weights=apply_switches(view, c, v),
        now_ms=header["decided_at_ms"],
        slots=header["slots"],
        decision_id=header["decision_id"],
        facts=header.get("facts", NO_FACTS),
        caller_choice=None if wanted is None else tuple(row_of[n] for n in wanted if n in row_of),
    )


class LoggedContexts:
    """Logged decisions as contests, one after another, with the catalogue of their time."""

    def __init__(self, catalogues: Catalogues) -> None:
        self._catalogues = catalogues
        self._known: dict[int, Catalogue] = {}

    async def of(self, decided: Decided) -> SelectionContext | None:
        """The contest as it was; ``None`` if it was not decided here, or the catalogue does not tell."""
        header = decided.header
        if header["source"] != "live":
            return None
        version = header["catalog_version"]
        catalogue = self._known.pop(version, None) or await self._catalogues.load(version)
        self._known[version] = catalogue  # the last one used is the last to be let go
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        try:
            return logged_context(catalogue.view(header["placement"]), decided)
        except (NotFound, ReplayImpossible):
            return None
