"""``python -m benchmarks.ope_intervals``: how often intervals of off-policy estimates hold, and how wide they are.

Made-up logs that are narrow, skewed or small, among them logs of ``calibrated`` while it learns, with what is true: the
mean reward that the target would have had in the same situations. For each estimator, the normal interval beside the
one that is given (``bandits.ope.weighted_intervals``), and how often that one is refused. The reward model of DR is
the mean of each offer's rewards so far.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandits.ope.estimators import (
    PolicyValueEstimate,
    doubly_robust,
    inverse_propensity,
    self_normalised,
)
from bandits.ope.weighted_intervals import largest_possible_weight
from bandits.policy import FloatArray, PolicySpec
from benchmarks.learning.ours import Ours
from benchmarks.learning.rounds import Round, Rows
from benchmarks.learning.worlds import logistic
from decisioning.evaluation.estimates import Judgement, estimate

RESULTS = Path(__file__).parent / "results" / "ope_intervals.json"
ESTIMATORS = ("ips", "snips", "dr")
EPSILON = 0.05


@dataclass(frozen=True, slots=True)
class Log:
    """``n`` logged choices among ``k`` offers. ``chances``, ``rates``: shape ``(n, k)``; the others ``(n,)``."""

    chances: FloatArray
    rates: FloatArray
    shown: Rows
    rewards: FloatArray


def _drawn(rng: np.random.Generator, chances: FloatArray, rates: FloatArray) -> Log:
    """Show offers with these chances, and answer with these rates."""
    rows = np.arange(len(chances))
    shown: Rows = (chances.cumsum(axis=1) > rng.random((len(chances), 1))).argmax(axis=1)
    return Log(chances, rates, shown, (rng.random(len(chances)) < rates[rows, shown]).astype(np.float64))


def random_log(rng: np.random.Generator, rows: int, offers: int, rate: float) -> Log:
    """Make the log of a policy that shows any offer; all have the same rate."""
    return _drawn(rng, np.full((rows, offers), 1.0 / offers), np.full((rows, offers), rate))


def sure_log(rng: np.random.Generator, rows: int, offers: int, rate: float, share: float) -> Log:
    """Make a log that is 95 % sure of one offer: of the first for ``share`` of the customers.

    Whom the log is sure of accepts half as often as those who would be shown the same offer only by exploration.
    """
    best = np.where(rng.random(rows) < share, 0, rng.integers(1, offers, rows))
    chances, rates = np.full((rows, offers), EPSILON / offers), np.full((rows, offers), rate)
    chances[np.arange(rows), best] += 1.0 - EPSILON
    rates[np.arange(rows), best] *= 0.5
    return _drawn(rng, chances, rates)


def soft_log(rng: np.random.Generator, rows: int, offers: int, rate: float, spread: float) -> Log:
    """Make a log whose chances follow scores with the standard deviation ``spread``, which say nothing of the rates."""
    scores = np.exp(spread * rng.normal(size=(rows, offers)))
    chances = EPSILON / offers + (1.0 - EPSILON) * scores / scores.sum(axis=1, keepdims=True)
    return _drawn(rng, chances, np.clip(rate * np.exp(0.5 * rng.normal(size=(rows, offers))), 0.0, 1.0))


def learned_log(rng: np.random.Generator, rows: int, offers: int, epsilon: float) -> Log:
    """Make the log of ``calibrated`` while it learns on a logistic stream of ``benchmarks.learning``.

    ``chances`` are known of what was shown alone; the others are NaN.
    """
    seed = int(rng.integers(1_000_000))
    rounds = logistic(seed, offers, rows)
    player = Ours(rounds, seed, PolicySpec("bench", 1, "calibrated", {"epsilon": epsilon}, rounds.features))
    chances, everything = np.full((rows, offers), np.nan), np.arange(offers)
    shown, rewards = np.zeros(rows, dtype=np.intp), np.zeros(rows)
    for t in range(rows):
        now = Round(t, rounds.x[t], rounds.facts[t], everything, None)
        choice = player.choose(now)
        shown[t], rewards[t] = choice.offer, rounds.rewards[t, choice.offer]
        chances[t, choice.offer] = choice.probability
        player.learn(now, choice, rewards[t])
    return Log(chances, rounds.expected, shown, rewards)


def constant(log: Log, rng: np.random.Generator) -> FloatArray:
    """The target that always shows the first offer."""
    target = np.zeros(log.rates.shape)
    target[:, 0] = 1.0
    return target


def best_constant(log: Log, rng: np.random.Generator) -> FloatArray:
    """The target that always shows the offer that is best in the mean."""
    target = np.zeros(log.rates.shape)
    target[:, int(np.argmax(log.rates.mean(axis=0)))] = 1.0
    return target


def near(log: Log, rng: np.random.Generator) -> FloatArray:
    """A target that chooses much as the log did."""
    scores = log.chances * np.exp(0.7 * rng.normal(size=log.chances.shape))
    offers = log.chances.shape[1]
    target: FloatArray = EPSILON / offers + (1.0 - EPSILON) * scores / scores.sum(axis=1, keepdims=True)
    return target


Maker = Callable[[np.random.Generator], Log]
Target = Callable[[Log, np.random.Generator], FloatArray]
SCENARIOS: tuple[tuple[str, Maker, Target], ...] = (
    ("random, 10 offers, 200 rows, 2 % accept", lambda rng: random_log(rng, 200, 10, 0.02), constant),
    ("random, 5 offers, 1,000 rows, 2 % accept", lambda rng: random_log(rng, 1000, 5, 0.02), constant),
    ("random, 10 offers, 1,000 rows, 30 % accept", lambda rng: random_log(rng, 1000, 10, 0.3), constant),
    ("random, 4 offers, 8,000 rows, 30 % accept", lambda rng: random_log(rng, 8000, 4, 0.3), constant),
    ("95 % sure, 2 offers, 1,000 rows", lambda rng: sure_log(rng, 1000, 2, 0.3, 0.1), constant),
    ("95 % sure, 3 offers, 1,000 rows", lambda rng: sure_log(rng, 1000, 3, 0.3, 0.3), constant),
    ("95 % sure, 10 offers, 1,000 rows", lambda rng: sure_log(rng, 1000, 10, 0.1, 0.5), constant),
    ("skewed, 10 offers, 1,000 rows", lambda rng: soft_log(rng, 1000, 10, 0.1, 1.5), constant),
    ("skewed, target like the log, 2,000 rows", lambda rng: soft_log(rng, 2000, 10, 0.02, 2.0), near),
    ("small, target like the log, 100 rows", lambda rng: soft_log(rng, 100, 5, 0.3, 1.0), near),
    (
        "calibrated learns, epsilon 0.005, 1,000 rows",
        lambda rng: learned_log(rng, 1000, 8, 0.005),
        best_constant,
    ),
    (
        "calibrated learns, epsilon 0.05, 1,000 rows",
        lambda rng: learned_log(rng, 1000, 8, 0.05),
        best_constant,
    ),
    ("calibrated learns, epsilon 0.2, 1,000 rows", lambda rng: learned_log(rng, 1000, 8, 0.2), best_constant),
)
LEARNED = "calibrated learns"
"""Begins the names of logs that take their time: of them there are fewer runs."""


def judged(log: Log, target: FloatArray) -> tuple[Judgement, dict[str, float]]:
    """The log as a target sees it, and what is true of each estimate."""
    rows, offers = log.rates.shape
    sums, counts = np.full(offers, 0.5), np.full(offers, 5.0)
    model = np.empty((rows, offers))
    for t in range(rows):
        model[t] = sums / counts
        sums[log.shown[t]] += log.rewards[t]
        counts[log.shown[t]] += 1.0
    at = (np.arange(rows), log.shown)
    truth = float((target * log.rates).sum(axis=1).mean())
    columns = Judgement(
        unit=np.arange(rows),
        reward=log.rewards,
        logging_probability=log.chances[at],
        target_probability=target[at],
        estimate=model[at],
        direct=(target * model).sum(axis=1),
        agrees=target.argmax(axis=1) == log.shown,
    )
    return columns, dict.fromkeys(ESTIMATORS, truth)


def measure(
    runs: int, learned_runs: int, scenarios: Sequence[tuple[str, Maker, Target]] = SCENARIOS
) -> list[dict[str, Any]]:
    """Measure coverage, median width, and the share of refusals, by scenario and estimator."""
    rows = []
    for number, (name, make, choose) in enumerate(scenarios):
        seen: dict[str, list[tuple[bool, float, bool, float, bool]]] = {which: [] for which in ESTIMATORS}
        effective, possible = [], []
        for seed in range(learned_runs if name.startswith(LEARNED) else runs):
            rng = np.random.default_rng([number, seed])
            log = make(rng)
            columns, truths = judged(log, choose(log, rng))
            found, _ = estimate(columns)
            if found is None:  # nothing of what the target would have shown
                continue
            effective.append(found.effective_rows)
            r, p, q = (
                np.asarray(column)
                for column in (columns.reward, columns.logging_probability, columns.target_probability)
            )
            normal = {
                "ips": inverse_propensity(r, p, q),
                "snips": self_normalised(r, p, q),
                "dr": doubly_robust(r, p, q, columns.estimate, columns.direct),
            }
            possible.append(largest_possible_weight(p, q))
            for which, truth in truths.items():
                given = getattr(found, which)
                seen[which].append(
                    (*_judged(normal[which], truth), *_judged(given, truth), given.refused is None)
                )
        for which, results in seen.items():
            rows.append(_row(name, which, np.array(results, dtype=float), effective, possible))
        print(format_table(rows[-3:]), flush=True)
    return rows


def _judged(found: PolicyValueEstimate, truth: float) -> tuple[bool, float]:
    return bool(found.low <= truth <= found.high), found.high - found.low


def _row(
    name: str, which: str, results: FloatArray, effective: Sequence[float], possible: Sequence[float]
) -> dict[str, Any]:
    given = results[results[:, 4] == 1.0]
    return {
        "log": name,
        "estimator": which,
        "runs": len(results),
        "effective_rows": float(np.median(effective)),
        "largest_possible_weight": float(np.median(possible)),
        "normal_covers": float(results[:, 0].mean()),
        "normal_width": float(np.median(results[:, 1])),
        "given": len(given),
        "covers": float(given[:, 2].mean()) if len(given) else None,
        "width": float(np.median(given[:, 3])) if len(given) else None,
    }


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the table of ``docs/evaluation.md``."""
    lines = [
        "| log | effective rows | | normal: holds | width | now: holds | width | refused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        held = "- | -" if row["covers"] is None else f"{row['covers']:.1%} | {row['width']:.3f}"
        lines.append(
            f"| {row['log']} | {row['effective_rows']:.0f} | {row['estimator'].upper()} | {row['normal_covers']:.1%}"
            f" | {row['normal_width']:.3f} | {held} | {1 - row['given'] / row['runs']:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the figures to ``benchmarks/results/ope_intervals.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ope_intervals", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="logs of each kind")
    parser.add_argument("--learned-runs", type=int, default=30, help="logs of a policy that learns")
    options = parser.parse_args()
    rows = measure(options.runs, options.learned_runs)
    figures = {"runs": options.runs, "learned_runs": options.learned_runs, "rows": rows}
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(format_table(rows))


if __name__ == "__main__":
    main()
