"""``python -m benchmarks.autopilot``: how often the autopilot promotes a canary, takes it back, or ends it undecided.

Every run is a stream of customers, the canary's share of them as the autopilot has it by default, looked at after each
500. Steps and verdicts are those of the service: ``decisioning.rollout.autopilot.next_step``, and before it
``decisioning.rollout.guardrail.judge``.
"""

import argparse
from collections import Counter

import numpy as np

from decisioning.model.deployment import Autopilot, AutopilotTurn, Canary, Deployment, Guardrails
from decisioning.model.entities import Placement
from decisioning.rollout.autopilot import DAY_MS, CanaryCounts, PlacementSituation, next_step
from decisioning.rollout.guardrail import GroupCounts, judge

PAIRS = (
    (0.1, 0.1),
    (0.1, 0.105),
    (0.1, 0.11),
    (0.1, 0.12),
    (0.1, 0.15),
    (0.1, 0.09),
    (0.03, 0.03),
    (0.03, 0.036),
    (0.03, 0.045),
    (0.4, 0.42),
)
"""Acceptance of the champion, and of the canary."""
STEP = 500
"""Customers between two looks."""
PLACEMENT = Placement("home", "web", policy="thompson")
POLICY = "auto-lin_ucb@1"


def end_of_run(champion: float, canary: float, pilot: Autopilot, rng: np.random.Generator) -> tuple[str, int]:
    """Run one canary to its end; returns how it ended, and how many customers were counted by then.

    ``max_customers`` come evenly spread over ``max_days``.
    """
    assert pilot.turn is not None
    guardrails = Guardrails()
    there = Deployment(
        "home", canary=Canary(POLICY, pilot.canary_share, 0), guardrails=guardrails, autopilot=pilot
    )
    ours, others = GroupCounts(), GroupCounts()
    for customers in range(STEP, pilot.max_customers + STEP, STEP):
        share = int(rng.binomial(STEP, pilot.canary_share))
        ours = _with_customers(ours, share, int(rng.binomial(share, canary)))
        others = _with_customers(others, STEP - share, int(rng.binomial(STEP - share, champion)))
        if judge(ours, others, guardrails) is not None:
            return "taken back", customers
        now_ms = round(customers / pilot.max_customers * pilot.max_days * DAY_MS)
        step = next_step(
            PlacementSituation(PLACEMENT, there, now_ms, "live", counts=CanaryCounts(ours, others))
        )
        if step is not None:
            return step.action, customers
    raise AssertionError("a canary ends in time")


def _with_customers(counts: GroupCounts, customers: int, accepted: int) -> GroupCounts:
    return GroupCounts(counts.observations + customers, counts.acceptances + accepted)


def main() -> None:
    """Print the table of ``docs/policies.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autopilot", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--customers", type=int, default=Autopilot().max_customers)
    parser.add_argument("--share", type=float, default=Autopilot().canary_share)
    options = parser.parse_args()
    turn = AutopilotTurn(POLICY, "canary", 0, "thompson@1", options.share)
    pilot = Autopilot(canary_share=options.share, max_customers=options.customers, turn=turn)
    print(
        "| champion | canary | promoted | taken back | undecided | customers until promoted: median, 90 % |"
    )
    print("|---|---|---|---|---|---|")
    for number, (champion, canary) in enumerate(PAIRS):
        rng = np.random.default_rng(number)
        ends = [end_of_run(champion, canary, pilot, rng) for _ in range(options.runs)]
        counts = Counter(how for how, _ in ends)
        until = [customers for how, customers in ends if how == "promote"]
        shares = " | ".join(f"{counts[how] / options.runs:.1%}" for how in ("promote", "taken back", "end"))
        typical = ", ".join(f"{np.quantile(until, q):,.0f}" for q in (0.5, 0.9)) if until else "-"
        print(f"| {champion:.1%} | {canary:.1%} | {shares} | {typical} |", flush=True)


if __name__ == "__main__":
    main()
