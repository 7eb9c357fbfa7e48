"""Replay: a decision made again from the log alone, and compared bit for bit."""

from dataclasses import dataclass
from typing import Any

from decisioning.evaluation.logged_service import Catalogues, Log, replay_decision
from decisioning.model.selection import Choice
from decisioning.policies.roster import Roster

_COMPARED = ("offer_id", "rank", "probability", "score", "factors")


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
    """Make an archived decision again, and put what comes of it beside what was logged.

    Raises
    ------
    NotFound
        If the decision is not archived.
    ReplayImpossible
        If it was not made by a policy here (imported history), or the log does not reach its arms' position yet.
    """
    remade = await replay_decision(decision_id, log, catalogues, roster)
    header = remade.decided.header
    return Replayed(
        decision_id=decision_id,
        policy=remade.key,
        epoch=header["epoch"],
        catalog_version=header["catalog_version"],
        logged=[{name: offer[name] for name in _COMPARED} for offer in header["offers"]],
        replayed=[_compared(choice) for choice in remade.selection.choices],
    )


def _compared(choice: Choice) -> dict[str, Any]:
    """A choice, as the log would hold it."""
    factors = choice.factors
    return {
        "offer_id": choice.offer.offer_id,
        "rank": choice.rank,
        "probability": choice.probability,
        "score": factors.score,
        "factors": {"P": factors.P, "C": factors.C, "V": factors.V, "L": factors.L},
    }
