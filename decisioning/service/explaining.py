"""Explanations: of a decision at hand, and of a logged one, from the log alone."""

from typing import Any

from decisioning.catalog import PlacementView
from decisioning.engine import Selection, select
from decisioning.errors import NotFound
from decisioning.explain import Situation, explain
from decisioning.facts import facts_of, instant
from decisioning.roles import as_seen
from decisioning.roster import Roster
from decisioning.seen import Seen, customer_of, history_of
from decisioning.service.lessons import ReplayImpossible
from decisioning.service.replay import Catalogues, Log, arms_at, contest_of, scored_by
from profiles.customer import Profile
from rules.evaluation import evaluate


async def explain_logged(
    decision_id: str, log: Log, catalogues: Catalogues, roster: Roster
) -> dict[str, Any]:
    """The explanation of an archived decision.

    Raises
    ------
    NotFound
        If the decision is not archived (yet).
    ReplayImpossible
        If it was not made here, or the log does not reach its arms' position yet.
    """
    decided = await log.decision(decision_id)
    if decided is None:
        raise NotFound("archived decision", decision_id)
    header = decided.header
    key = scored_by(header)
    if header["source"] != "live" or key not in roster:
        raise ReplayImpossible(
            f"decision {decision_id!r} was made elsewhere, by {key}: there is nothing to explain"
        )
    catalogue = await catalogues.load(header["catalog_version"])
    view = catalogue.view(header["placement"])
    policy = roster[key]
    arms = await arms_at(log, key, roster, header["epoch"])
    tick = policy.decay.tick(header["decided_at_ms"] / 1000.0)
    prepared = policy.prepare(arms.read(policy, view.numbers, tick))
    group = header.get("group", "champion")
    contest = as_seen(contest_of(view, decided), group, roster.spec(key))
    selection = select(contest, policy, prepared)
    customer = customer_of(header["customer_id"], header["seen"])
    profile = Profile(customer, decided.candidates, decided.priors)
    situation = Situation(
        catalogue=catalogue,
        view=view,
        profile=profile,
        history=history_of(header["seen"]),
        evaluation=evaluate(
            view.plan,
            facts_of(customer, header["context"], view.placement),
            instant(header["decided_at_ms"]),
        ),
        weights=contest.weights,
        exhausted=frozenset(header["seen"].get("exhausted", ())),
        now_ms=header["decided_at_ms"],
        propensities=_propensities(view, selection, header["seen"]),
        selection=selection,
        eligibility_only=group == "eligibility_only",
    )
    return {"decision_id": decision_id, "policy": header["policy"], "candidates": explain(situation)}


def _propensities(view: PlacementView, selection: Selection, seen: Seen) -> list[float]:
    """What was expected of all rows: for candidates as chosen again, for those below their minimum as logged."""
    found: list[float] = [] if selection.propensities is None else selection.propensities.tolist()
    unlikely = dict(seen.get("unlikely", ()))
    return [unlikely.get(number, found[row]) for row, number in enumerate(view.numbers.tolist())]
