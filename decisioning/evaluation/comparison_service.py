"""The policies of a placement side by side: what those that decide earn, and what those in the shadow would have."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bandits.algorithms.apprentice import imitates_caller
from bandits.policy import Policy
from bandits.sequential_policy import is_learner
from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import NotFound
from decisioning.evaluation.counterfactual import count_left_out, judged_policies
from decisioning.evaluation.estimates import (
    MUCH_OPEN,
    Judgement,
    estimate,
    notes_on,
    notes_on_open,
    shares,
    summary,
)
from decisioning.evaluation.store_comparison import ComparisonReader, Window
from decisioning.model.deployment import Deployment, champion_of
from decisioning.model.entities import Placement

Row = Mapping[str, Any]

NOTES = (
    "Rates are of offers whose reward window is closed: acceptances are told before silence, so `open` ones are not "
    "counted. Groups are sticky shares of the customers, so their rates can be compared.",
    "Estimates for shadows use decisions whose probabilities were logged, given what the earlier slots took. They do "
    "not tell what would come of another answer as a whole.",
    "A shadow is asked moments after the decision, at the arms of that moment; it learns from all outcomes, not only "
    "from those of offers that it would have shown.",
)
APPRENTICE_NOTES = (
    "The caller's own choice is not drawn: its probability is 1. So nothing of what other offers would have brought "
    "can be known from it, and no estimate is made of it.",
    "Acceptance where the apprentice agrees with the caller, and where it does not, describes the caller's choices. A "
    "higher rate where they agree is a good sign, not a proof: the customers may differ.",
    "What the apprentice would earn is estimated from the control groups alone, which draw at random; compare it with "
    "the acceptance of the caller's own choice. Without a control group it cannot be estimated.",
)
IMITATES_NOTES = (
    "The apprentice learns what the caller chooses from the caller's choices whose outcome is known, and from the "
    "features that it declares: what the caller goes by beyond them it cannot imitate.",
    "It departs from the caller where the evidence says that another offer scores better. So agreement rises while it "
    "learns to imitate, need not reach 1, and falls again where it has found something better.",
)
OTHERWISE_NOTES = (
    "The champion's algorithm does not imitate: it learns from the outcomes of the caller's choices, not from the "
    "choices, and agrees with the caller only where both find the same offer best. `apprentice` is the algorithm "
    "that imitates.",
)


async def compare(
    catalogue: Catalogue, window: Window, reader: ComparisonReader, policies: Mapping[str, Policy]
) -> dict[str, Any]:
    """The report. Raises ``NotFound`` if there is no such placement, and ``PostgresUnavailable``."""
    placement = catalogue.placements.get(window.placement)
    if placement is None:
        raise NotFound("placement", window.placement)
    deployment = catalogue.deployments.get(window.placement) or Deployment(window.placement)
    groups = await reader.by_group(window)
    shadows, apprentice = [], None
    for key in judged_policies(placement, deployment):
        rows = await reader.judged(window, key)
        role = _role(key, placement, deployment)
        # Intervals take up to a second: in a thread, for decisions are answered by this process as well.
        shadows.append(await asyncio.to_thread(_shadow, key, role, rows, policies.get(key)))
        if role == "apprentice":
            apprentice = _apprentice(key, rows, policies.get(key))
    return {
        "placement": window.placement,
        "from": window.start,
        "to": window.end,
        "slots": "first" if window.first else "all",
        "limit": window.limit,
        "deciding": [row | {"acceptance": shares(row["accepted"], row["observed"])} for row in groups],
        "shadows": shadows,
        "apprentice": apprentice,
        "notes": [*NOTES, *_open_notes(groups)],
    }


def _open_notes(groups: Sequence[Row]) -> list[str]:
    still_open, shown = sum(row["open"] for row in groups), sum(row["shown"] for row in groups)
    if still_open <= MUCH_OPEN * shown:
        return []
    return [
        f"{still_open} of {shown} offers shown are still open. With `to` before the last reward window, or a larger "
        "`limit`, more of what is compared is closed."
    ]


def _role(key: str, placement: Placement, deployment: Deployment) -> str:
    if deployment.canary is not None and key == deployment.canary.policy:
        return "canary"
    if deployment.apprentice and key == champion_of(placement, deployment):
        return "apprentice"
    return "shadow"


def _shadow(key: str, role: str, rows: Sequence[Row], policy: Policy | None) -> dict[str, Any]:
    """One policy that was asked: what it would have earned, how much it agrees, how it behaved."""
    slots = [row for row in rows if row["error"] is None]
    reasons = [_unusable(row) for row in slots]
    usable = [row for row, reason in zip(slots, reasons, strict=True) if reason is None]
    left_out = Counter(reason for reason in reasons if reason is not None)
    found, warnings = estimate(_columns(usable))
    warnings = notes_on_open(left_out["open"], len(slots) - left_out["open"], "slots") + warnings
    learned = policy is not None and is_learner(policy)
    narrowed = len({row["decision_id"] for row in slots if row["narrowed"]})
    warnings += notes_on(
        1.0 if policy is None else policy.epsilon, learned, narrowed, left_out.total(), len(usable)
    )
    known = sum(row["known"] for row in usable)
    if learned and known:
        warnings.append(
            f"In {known} of {len(usable)} slots the outcome was known when the policy was asked, and it may have "
            "learned from it already; their estimates are a little too good."
        )
    # Time is measured once a decision, and stands in the rows of all its slots.
    times = [row["took_us"] for row in slots if row["rank"] == 1]
    return {
        "policy": key,
        "role": role,
        "decisions": len({(row["decided_at"], row["decision_id"]) for row in rows}),
        "judged": len(slots),
        "agreement": float(np.mean([row["best_no"] == row["offer_no"] for row in slots])) if slots else None,
        "left_out": count_left_out(left_out),
        "failures": [
            {"reason": reason, "decisions": n}
            for reason, n in Counter(row["error"] for row in rows if row["error"] is not None).most_common(10)
        ],
        "mean_us": float(np.mean(times)) if times else None,
        "p95_us": float(np.percentile(times, 95)) if times else None,
        "estimates": summary(found),
        "warnings": warnings,
    }


def _unusable(row: Row) -> str | None:
    """Find why a slot cannot be used; ``None`` if it can."""
    if row["unusable"] is not None:
        return str(row["unusable"])
    if not row["closed"]:
        return "open"
    return "unobserved" if row["reward"] is None else None


def _columns(rows: Sequence[Row]) -> Judgement:
    # By time as well: an id may be asked for again after an answer that was taken back.
    units: dict[tuple[Any, str], int] = {}
    return Judgement(
        unit=[units.setdefault((row["decided_at"], row["decision_id"]), len(units)) for row in rows],
        reward=[row["reward"] for row in rows],
        logging_probability=[row["probability"] for row in rows],
        target_probability=[row["chance"] for row in rows],
        estimate=[row["estimate"] for row in rows],
        direct=[row["direct"] for row in rows],
        agrees=[row["best_no"] == row["offer_no"] for row in rows],
    )


def _apprentice(key: str, rows: Sequence[Row], policy: Policy | None) -> dict[str, Any]:
    """Measure how well an apprentice imitates the caller, and the outcomes where they agree or differ."""
    learns_to = None if policy is None else imitates_caller(policy)
    about_it = {None: (), True: IMITATES_NOTES, False: OTHERWISE_NOTES}[learns_to]
    own = [row for row in rows if row["error"] is None and row["unusable"] == "caller"]
    by_day: defaultdict[str, list[Row]] = defaultdict(list)
    for row in own:
        by_day[row["decided_at"].date().isoformat()].append(row)
    return {
        "policy": key,
        "imitates": learns_to,
        "slots": len(own),
        "agreement": _agreement(own),
        "same_choice": float(np.mean([row["chance"] for row in own])) if own else None,
        "agrees": _accepted([row for row in own if row["best_no"] == row["offer_no"]]),
        "differs": _accepted([row for row in own if row["best_no"] != row["offer_no"]]),
        "days": [
            {"day": day, "slots": len(found), "agreement": _agreement(found)} for day, found in by_day.items()
        ],
        "notes": [*about_it, *APPRENTICE_NOTES],
    }


def _agreement(rows: Sequence[Row]) -> dict[str, float | None]:
    return shares(sum(row["best_no"] == row["offer_no"] for row in rows), len(rows))


def _accepted(rows: Sequence[Row]) -> dict[str, Any]:
    rewards = [row["reward"] for row in rows if row["reward"] is not None]
    return {
        "observed": len(rewards),
        "open": sum(not row["closed"] for row in rows),
        "accepted": sum(rewards),
        "acceptance": shares(sum(rewards), len(rewards)),
    }
