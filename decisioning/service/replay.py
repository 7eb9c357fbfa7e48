"""Replay: a decision made again from the log alone, and compared bit for bit."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bandits.policy import NO_FACTS
from bandits.sequential_policy import ModelState, Table, is_sequential
from bandits.state import ArmTable
from decisioning.arbitration import switched
from decisioning.catalog import Catalogue, PlacementView
from decisioning.engine import Contest, select
from decisioning.errors import NotFound
from decisioning.learning import fold_outcomes
from decisioning.records import Decided, Header, Outcome
from decisioning.roles import as_seen
from decisioning.roster import Roster
from decisioning.service.lessons import LessonLog, Lessons, ReplayImpossible


class Log(LessonLog, Protocol):
    """The archived log. Methods raise ``PostgresUnavailable``."""

    async def decision(self, decision_id: str) -> Decided | None: ...

    def observations(self, up_to: Mapping[int, str] | None = None) -> AsyncIterator[list[Outcome]]: ...


class Catalogues(Protocol):
    """Catalogues by version. Raises ``PostgresUnavailable``."""

    async def load(self, version: int | None = None) -> Catalogue: ...


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was logged and what the replay gave: offer, rank, probability, score and factors by slot."""

    decision_id: str
    policy: str
    epoch: int
    catalog_version: int
    logged: list[dict[str, Any]]
    replayed: list[dict[str, Any]]

    @property
    def identical(self) -> bool:
        """Whether they are equal bit for bit."""
        return self.logged == self.replayed


async def replay(decision_id: str, log: Log, catalogues: Catalogues, roster: Roster) -> Replayed:
    """Make an archived decision again: same id, catalogue, policy, and arms folded from the same part of the log.

    Raises
    ------
    NotFound
        If the decision is not archived.
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
            f"decision {decision_id!r} was made elsewhere, by {key}: there is nothing to replay"
        )
    policy = roster[key]
    view = (await catalogues.load(header["catalog_version"])).view(header["placement"])
    arms = await arms_at(log, key, roster, header["epoch"])
    tick = policy.decay.tick(header["decided_at_ms"] / 1000.0)
    prepared = policy.prepare(arms.read(policy, view.numbers, tick))
    contest = as_seen(contest_of(view, decided), header.get("group", "champion"), roster.spec(key))
    selection = select(contest, policy, prepared)
    return Replayed(
        decision_id=decision_id,
        policy=key,
        epoch=header["epoch"],
        catalog_version=header["catalog_version"],
        logged=[{name: offer[name] for name in _COMPARED} for offer in header["offers"]],
        replayed=[
            {
                "offer_id": choice.offer.offer_id,
                "rank": choice.rank,
                "probability": choice.probability,
                "score": choice.factors.score,
                "factors": {
                    "P": choice.factors.P,
                    "C": choice.factors.C,
                    "V": choice.factors.V,
                    "L": choice.factors.L,
                },
            }
            for choice in selection.choices
        ],
    )


_COMPARED = ("offer_id", "rank", "probability", "score", "factors")


def scored_by(header: Header) -> str:
    """The policy that scored a decision, as ``name@version``: also where the caller's own choice was answered."""
    policy = header.get("scored_by") or header["policy"]
    return f"{policy['name']}@{policy['version']}"


async def arms_at(log: Log, key: str, roster: Roster, epoch: int) -> Table:
    """The arms, or the model, as they were at ``epoch``, from the archived log. Raises ``ReplayImpossible``."""
    policy, spec = roster[key], roster.spec(key)
    if is_sequential(policy):
        return ModelState(await Lessons(log, spec, policy).model_at(epoch), epoch)
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


def contest_of(view: PlacementView, decided: Decided) -> Contest:
    """The contest as it was: the same candidates, with what the request made of them as it was logged."""
    header = decided.header
    row_of = {number: row for row, number in enumerate(view.numbers.tolist())}
    try:
        rows = [row_of[number] for number in decided.candidates.tolist()]
    except KeyError:
        raise ReplayImpossible("the catalogue at that version lacks a candidate of this decision") from None
    available = np.zeros(len(view.numbers), dtype=bool)
    available[rows] = True
    priors = np.full(len(view.numbers), np.nan, dtype=np.float32)
    priors[rows] = decided.priors
    wanted = header.get("wanted")
    c, v = np.ones(len(view.numbers)), view.value.copy()
    if decided.factors is not None:
        c[rows], v[rows] = decided.factors
    return Contest(
        view=view,
        available=available,
        priors=priors,
        weights=switched(view, c, v),
        now_ms=header["decided_at_ms"],
        slots=header["slots"],
        decision_id=header["decision_id"],
        facts=header.get("facts", NO_FACTS),
        wanted=None if wanted is None else tuple(row_of[n] for n in wanted if n in row_of),
    )
