"""Replay: a decision made again from the log alone, and compared bit for bit."""

from dataclasses import dataclass

from msgspec.structs import replace

from decisioning.evaluation.logged_service import Catalogues, Log, replay_decision
from decisioning.model.decision import DecidedOffer, LoggedFactors
from decisioning.model.selection import Choice
from decisioning.policies.roster import Roster


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was logged and what the replay gave: offer, rank, probability, score and factors by slot."""

    decision_id: str
    policy: str
    epoch: int
    catalog_version: int
    logged: list[DecidedOffer]
    replayed: list[DecidedOffer]

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
    decision = remade.logged.decision
    return Replayed(
        decision_id=decision_id,
        policy=remade.key,
        epoch=decision.epoch,
        catalog_version=decision.catalog_version,
        logged=[replace(offer, treatment=None) for offer in decision.offers],
        replayed=[_compared(choice) for choice in remade.selection.choices],
    )


def _compared(choice: Choice) -> DecidedOffer:
    """Make a choice as the log would hold it, without its treatment."""
    f = choice.factors
    factors = LoggedFactors(f.P, f.C, f.V, f.L)
    return DecidedOffer(choice.offer.offer_id, choice.rank, f.score, factors, choice.probability)
