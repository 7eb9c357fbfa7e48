"""``python -m benchmarks.apprentice``: how fast an apprentice learns a caller's choices, and its gain.

Made-up customers with a region, an age and a reason to call; six offers; a caller who goes by a table of regions and
ages. In apprentice mode the caller's own choices are answered; then the mode is switched off, and policies decide:
``apprentice``, ``calibrated``, and the caller's table as it was. Every policy has seen the same choices and answers.
Acceptance is what is to be expected of the distributions that are drawn from, so there is no luck of draws in it.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bandits.algorithms.apprentice import DEFAULT_CAUTION, ApprenticePolicy
from bandits.features import Feature
from bandits.policy import Candidates, FloatArray, IntArray, Observation, Policy, PolicySpec
from bandits.registry import build_policy
from bandits.sampling import sample_index
from bandits.state import ArmTable, arm_contributions

RESULTS = Path(__file__).parent / "results" / "apprentice.json"
REGIONS, REASONS, OFFERS = ("north", "east", "south", "west"), ("bill", "moving", "fault"), 6
FEATURES = (
    Feature("region", "category", "customer.region", values=REGIONS),
    Feature("age", "numeric", "customer.age", low=18.0, high=80.0),
    Feature("reason", "category", "context.reason", values=REASONS),
)
CHOICES = (100, 300, 1000, 3000)
"""Numbers of the caller's choices after which agreement is measured; the last is the end of apprentice mode."""
PHASES = (500, 2000, 5000)
"""Ends of the phases after apprentice mode, in decisions."""
CALLERS = ("good", "wrong for some", "careless")
FOLD_SIZE = 10
"""Outcomes that are folded together."""
NOW_S = 1_750_000_000.0
NUMBERS: IntArray = np.arange(1, OFFERS + 1, dtype=np.uint32)
EVERYTHING = np.ones(OFFERS, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Customer:
    """One request: its cell in the caller's table, its facts, and the true acceptance of each offer, ``(6,)``."""

    cell: int
    facts: Mapping[str, Any]
    chances: FloatArray


class Town:
    """Customers whose acceptance depends on all three features, and a caller with a table of eight cells."""

    def __init__(self, caller: str, seed: int) -> None:
        self._rng = rng = np.random.default_rng(seed)
        self._base = rng.normal(-2.0, 0.4, OFFERS)
        self._region = rng.normal(0.0, 0.7, (len(REGIONS), OFFERS))
        self._reason = rng.normal(0.0, 0.5, (len(REASONS), OFFERS))
        self._age = rng.normal(0.0, 0.5, OFFERS)
        self.table = self._fill_table(caller)

    def draw_customer(self) -> Customer:
        """Draw the next customer."""
        rng = self._rng
        region, reason, age = int(rng.integers(4)), int(rng.integers(3)), float(rng.uniform(18.0, 80.0))
        facts = {
            "customer.region": REGIONS[region],
            "customer.age": age,
            "context.reason": REASONS[reason],
        }
        return Customer(2 * region + (age > 49.0), facts, self._chances(region, reason, age))

    def _chances(self, region: int, reason: int, age: float) -> FloatArray:
        slope = (age - 49.0) / 31.0
        odds = self._base + self._region[region] + self._reason[reason] + self._age * slope
        chances: FloatArray = 1.0 / (1.0 + np.exp(-odds))
        return chances

    def _fill_table(self, caller: str) -> IntArray:
        """Fill the caller's table: the best offer of each cell, but for two cells; or any offer at all."""
        table = np.empty(2 * len(REGIONS), dtype=np.uint32)
        wrong = self._rng.choice(len(table), 2, replace=False).tolist()
        for cell in range(len(table)):
            age = 64.5 if cell % 2 else 33.5
            mean = np.mean([self._chances(cell // 2, reason, age) for reason in range(3)], axis=0)
            place = 1 if caller == "wrong for some" and cell in wrong else -1
            table[cell] = np.argsort(mean)[place]
        return self._rng.integers(OFFERS, size=len(table), dtype=np.uint32) if caller == "careless" else table


class Learner:
    """A policy with its arms, in one process."""

    def __init__(self, algorithm: str, parameters: Mapping[str, Any] | None = None) -> None:
        spec = PolicySpec("pupil", 1, algorithm, {"half_life_days": 0, **(parameters or {})}, FEATURES)
        self.policy: Policy = build_policy(spec)
        self._table = ArmTable(self.policy.width)
        self._waiting: list[Observation] = []
        self._prepared = self.policy.prepare(self._table.read(self.policy, NUMBERS, 0))

    def imitate(self, customer: Customer) -> int | None:
        """Guess the row of the caller's choice; ``None`` if the policy has no model of callers."""
        if not isinstance(self.policy, ApprenticePolicy):
            return None
        x = self.policy.encoder.encode(customer.facts, int(NOW_S * 1000))
        return int(np.argmax(self.policy.caller_model.scores(self._prepared.caller_choice, x)))

    def choose(self, customer: Customer) -> tuple[FloatArray, FloatArray]:
        """Compute the distribution over the offers, and the expected acceptance of each."""
        x = self.policy.encoder.encode(customer.facts, int(NOW_S * 1000))
        none = np.full(OFFERS, np.nan, dtype=np.float32)
        candidates = Candidates(NUMBERS, none, np.ones(OFFERS), x, customer.facts)
        expected = self.policy.propensities(self._prepared, candidates)
        return self.policy.selector(self._prepared, candidates)(EVERYTHING), expected

    def observe(self, customer: Customer, row: int, accepted: bool, expected: float, by_caller: bool) -> None:
        """Take in one outcome; it counts from the next fold on."""
        x = self.policy.encoder.encode(customer.facts, int(NOW_S * 1000))
        reward, number = float(accepted), int(NUMBERS[row])
        seen = Observation(number, reward, math.nan, x, expected, customer.facts, by_caller)
        self._waiting.append(seen)
        if len(self._waiting) >= FOLD_SIZE:
            self.fold()

    def fold(self) -> None:
        """Learn from the outcomes that wait."""
        if not self._waiting:
            return
        for seen in self._waiting:
            fields, delta = arm_contributions(self.policy, seen, NOW_S)
            for field in fields:
                self._table.add(field, delta)
        rows = np.array(sorted({seen.offer - 1 for seen in self._waiting}), dtype=np.intp)
        self._waiting.clear()
        self._prepared = self.policy.refresh(
            self._prepared, self._table.read(self.policy, NUMBERS, 0, rows), rows
        )


def run_apprentice_mode(
    town: Town, learner: Learner, choices: Sequence[int], asked: int, rng: np.random.Generator
) -> tuple[dict[int, float], dict[int, float]]:
    """Run apprentice mode, and measure ``asked`` new customers after each number of the caller's ``choices``.

    Returns the shares of those for whom the policy imitates the caller rightly (none if it has no model of callers),
    and of those for whom it would choose the same; it does not where it has found something better.
    """
    knows, agreement = {}, {}
    for count in range(1, max(choices) + 1):
        customer = town.draw_customer()
        row = int(town.table[customer.cell])
        expected = learner.choose(customer)[1][row]
        learner.observe(customer, row, bool(rng.random() < customer.chances[row]), float(expected), True)
        if count in choices:
            learner.fold()
            found = [town.draw_customer() for _ in range(asked)]
            theirs = [int(town.table[one.cell]) for one in found]
            agreement[count] = float(
                np.mean(
                    [np.argmax(learner.choose(one)[0]) == row for one, row in zip(found, theirs, strict=True)]
                )
            )
            if learner.imitate(customer) is not None:
                knows[count] = float(
                    np.mean([learner.imitate(one) == row for one, row in zip(found, theirs, strict=True)])
                )
    return knows, agreement


def run_after_mode(
    town: Town, learner: Learner, phases: Sequence[int], rng: np.random.Generator
) -> tuple[list[float], list[float]]:
    """Let the policy decide, and return the expected acceptance of it, and of the caller, by phase."""
    ours, theirs = np.zeros((2, len(phases)))
    starts = [0, *phases[:-1]]
    for count in range(max(phases)):
        customer = town.draw_customer()
        probabilities, expected = learner.choose(customer)
        phase = int(np.searchsorted(phases, count, side="right"))
        ours[phase] += probabilities @ customer.chances
        theirs[phase] += customer.chances[town.table[customer.cell]]
        row = sample_index(probabilities, rng.random())
        learner.observe(
            customer, row, bool(rng.random() < customer.chances[row]), float(expected[row]), False
        )
    length = np.subtract(phases, starts)
    return (ours / length).tolist(), (theirs / length).tolist()


@dataclass(frozen=True, slots=True)
class Life:
    """One run: see ``run_apprentice_mode`` and ``run_after_mode``."""

    knows: Mapping[int, float]
    agreement: Mapping[int, float]
    policy: list[float]
    caller: list[float]


def run_life(
    caller: str,
    make: Callable[[], Learner],
    seed: int,
    *,
    choices: Sequence[int] = CHOICES,
    phases: Sequence[int] = PHASES,
    asked: int = 300,
) -> Life:
    """Run from the first choice to the last decision; the customers depend on ``caller`` and ``seed`` alone."""
    town, rng, learner = Town(caller, seed), np.random.default_rng(seed + 1000), make()
    knows, agreement = run_apprentice_mode(town, learner, choices, asked, rng)
    policy, of_the_caller = run_after_mode(town, learner, phases, rng)
    return Life(knows, agreement, policy, of_the_caller)


def measure(seeds: int, caution: float = DEFAULT_CAUTION) -> list[dict[str, Any]]:
    """Measure for each caller and policy the means over seeds, and the standard errors of the gain on the caller."""
    rows = []
    for caller in CALLERS:
        for algorithm, parameters in (("apprentice", {"caution": caution}), ("calibrated", {})):
            make = partial(Learner, algorithm, parameters)
            lives = [run_life(caller, make, seed) for seed in range(seeds)]
            ours, theirs = (np.array([getattr(life, who) for life in lives]) for who in ("policy", "caller"))
            gained = ours - theirs
            rows.append(
                {
                    "caller": caller,
                    "policy": algorithm,
                    "knows": _means([life.knows for life in lives]),
                    "agreement": _means([life.agreement for life in lives]),
                    "acceptance": ours.mean(axis=0).tolist(),
                    "of_the_caller": theirs.mean(axis=0).tolist(),
                    "gained": gained.mean(axis=0).tolist(),
                    "error": (gained.std(axis=0, ddof=1) / math.sqrt(seeds)).tolist(),
                }
            )
    return rows


def _means(found: Sequence[Mapping[int, float]]) -> dict[str, float]:
    return {str(count): float(np.mean([one[count] for one in found])) for count in found[0]}


def format_tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the tables of ``docs/evaluation.md``."""
    counts = " | ".join(f"after {count:,}" for count in CHOICES)
    lines = [f"| caller | policy | | {counts} |", "|---|---|---|" + "---|" * len(CHOICES)]
    for row in rows:
        for what in ("knows", "agreement"):
            if row[what]:
                shown = " | ".join(f"{row[what][str(count)]:.1%}" for count in CHOICES)
                lines.append(f"| {row['caller']} | `{row['policy']}` | {what} | {shown} |")
    starts = [1, *(end + 1 for end in PHASES)]
    phases = " | ".join(f"{start:,} to {end:,}" for start, end in zip(starts, PHASES, strict=False))
    lines += ["", f"| caller | its acceptance | policy | {phases} |", "|---|---|---|" + "---|" * len(PHASES)]
    for row in rows:
        shown = " | ".join(
            f"{gained * 100:+.2f} (± {error * 100:.2f})"
            for gained, error in zip(row["gained"], row["error"], strict=True)
        )
        lines.append(
            f"| {row['caller']} | {np.mean(row['of_the_caller']):.1%} | `{row['policy']}` | {shown} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the tables, and write the figures to ``benchmarks/results/apprentice.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.apprentice", description=__doc__)
    parser.add_argument("--seeds", type=int, default=6, help="towns for each caller, at least 2")
    parser.add_argument("--caution", type=float, help="another caution; then nothing is written")
    options = parser.parse_args()
    rows = measure(options.seeds, DEFAULT_CAUTION if options.caution is None else options.caution)
    figures = {"seeds": options.seeds, "choices": list(CHOICES), "phases": list(PHASES), "rows": rows}
    if options.caution is None:
        RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(format_tables(rows))


if __name__ == "__main__":
    main()
