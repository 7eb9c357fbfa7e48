"""``python -m benchmarks.guardrails``: how often, and after how many customers, guardrails roll a canary back.

Every run is a stream of customers who are looked at after each of them, as nobody would dare with an ordinary test. The
verdict is the one that the service takes: ``decisioning.rollout.guardrail.judge``. A bound that is cheap to compute
for all runs at once tells where it need not be asked.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.monitoring.sequential_test import PRIOR
from bandits.policy import FloatArray
from decisioning.model.deployment import Guardrails
from decisioning.rollout.guardrail import GroupCounts, judge

CountArray = NDArray[Any]

A, B = PRIOR
SHARES = (0.05, 0.2, 0.5)
FAILING = (
    (0.005, 0.005),
    (0.01, 0.01),
    (0.02, 0.02),
    (0.05, 0.05),
    (0.01, 0.1),
    (0.01, 0.05),
    (0.0, 0.5),
    (0.0, 1.0),
)
"""Shares of failures: of the champion's decisions, and of the canary's."""
FAILING_SHARE = 0.1
"""The canary's share of the decisions of that simulation."""
PAIRS = ((0.1, 0.1), (0.1, 0.08), (0.1, 0.05), (0.03, 0.015), (0.4, 0.3), (0.4, 0.2))


def rolled_back_after(
    canary_rate: float,
    champion_rate: float,
    share: float,
    customers: int,
    runs: int,
    guardrails: Guardrails,
    seed: int,
) -> FloatArray:
    """After how many customers, of canary and champion together, each run was rolled back; infinite if it was not.

    ``share`` of the customers get the canary. Shape ``(runs,)``.
    """
    rng = np.random.default_rng(seed)
    n, s, mixture = np.zeros((2, runs)), np.zeros((2, runs)), np.zeros((2, runs))
    after = np.full(runs, np.inf)
    left = np.arange(runs)  # those of the columns of the arrays above
    rates = np.array([canary_rate, champion_rate])
    for step in range(1, customers + 1):
        arm = (rng.random(len(left)) >= share).astype(np.intp)
        accepted = rng.random(len(left)) < rates[arm]
        at = (arm, np.arange(len(left)))
        mixture[at] += np.log(np.where(accepted, A + s[at], B + n[at] - s[at]) / (A + B + n[at]))
        n[at] += 1
        s[at] += accepted
        suspects = _bound(n, s, mixture, guardrails.margin) >= -np.log(guardrails.alpha)
        for column in np.flatnonzero(suspects):
            canary, champion = (GroupCounts(int(n[k, column]), int(s[k, column])) for k in (0, 1))
            if judge(canary, champion, guardrails) is not None:
                after[left[column]] = step
        going = np.isinf(after[left])
        if not going.all():
            left, n, s, mixture = left[going], n[:, going], s[:, going], mixture[:, going]
            if not len(left):
                break
    return after


def failing_rolled_back_after(
    canary_rate: float,
    champion_rate: float,
    share: float,
    decisions: int,
    runs: int,
    guardrails: Guardrails,
    seed: int,
) -> FloatArray:
    """After how many of its decisions a canary that fails at random was rolled back in each run; infinite if not.

    ``decisions``: of both arms, ``share`` of them the canary's; judged after each of them. Shape ``(runs,)``.
    """
    rng = np.random.default_rng(seed)
    after = np.full(runs, np.inf)
    margin = guardrails.max_failure_share
    for run in range(runs):
        canary = rng.random(decisions) < share
        failed = rng.random(decisions) < np.where(canary, canary_rate, champion_rate)
        mine = np.stack((~canary, canary))
        n, s = mine.cumsum(axis=1), (mine & failed).cumsum(axis=1)
        step_n, step_s = n - mine, s - (mine & failed)  # before each decision
        steps = np.log(np.where(failed, A + step_s, B + step_n - step_s) / (A + B + step_n))
        mixture = np.where(mine, steps, 0.0).cumsum(axis=1)
        # The arms are exchanged: what is counted is bad.
        suspects = _bound(n, s, mixture, margin) >= -np.log(guardrails.alpha)
        for step in np.flatnonzero(suspects & (s[1] >= guardrails.min_failures)):
            champions, ours = (
                GroupCounts(decisions=int(n[arm, step]), failures=int(s[arm, step])) for arm in (0, 1)
            )
            if judge(ours, champions, guardrails) is not None:
                after[run] = n[1, step]
                break
    return after


def _bound(n: CountArray, s: CountArray, mixture: FloatArray, margin: float) -> FloatArray:
    """At least ``log e``: the average of the martingales at one pair of rates that the null hypothesis allows."""
    champion = np.clip((s.sum(axis=0) + n[0] * margin) / n.sum(axis=0), margin + 1e-9, 1 - 1e-9)
    rates = np.stack((np.clip(champion - margin, 1e-9, 1 - 1e-9), champion))
    x, y = mixture - s * np.log(rates) - (n - s) * np.log1p(-rates)
    bound: FloatArray = np.logaddexp(np.logaddexp(x, y), x + y) - np.log(3)
    return bound


def main() -> None:
    """Print the tables of ``docs/guardrails.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guardrails", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--customers", type=int, default=10_000)
    parser.add_argument("--alpha", type=float, default=Guardrails().alpha)
    parser.add_argument("--margin", type=float, default=Guardrails().margin)
    parser.add_argument("--only", choices=("worse", "failures"), help="one of the two tables")
    options = parser.parse_args()
    guardrails = Guardrails(alpha=options.alpha, margin=options.margin)
    if options.only != "failures":
        print("| champion | canary | share | rolled back | its customers until then: median, 90 % |")
        print("|---|---|---|---|---|")
        for number, (champion, canary) in enumerate(PAIRS):
            for share in SHARES:
                after = rolled_back_after(
                    canary, champion, share, options.customers, options.runs, guardrails, number
                )
                print(f"| {champion:.1%} | {canary:.1%} | {share:.0%} | {_shown(after, share)} |", flush=True)
    if options.only != "worse":
        print("\n| champion fails | canary fails | rolled back | its decisions until then: median, 90 % |")
        print("|---|---|---|---|")
        for number, (champion, canary) in enumerate(FAILING):
            after = failing_rolled_back_after(
                canary, champion, FAILING_SHARE, options.customers, options.runs, guardrails, number
            )
            print(f"| {champion:.1%} | {canary:.1%} | {_shown(after, 1.0)} |", flush=True)


def _shown(after: FloatArray, share: float) -> str:
    done = after[np.isfinite(after)]
    median, most = np.quantile(done, (0.5, 0.9)) * share if len(done) else (np.nan, np.nan)
    return f"{len(done) / len(after):.1%} | " + (f"{median:,.0f}, {most:,.0f}" if len(done) else "-")


if __name__ == "__main__":
    main()
