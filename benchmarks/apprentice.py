"""``python -m benchmarks.apprentice``: how soon an apprentice does what the caller does, and what comes of it then.

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
"""After how many of the caller's choices agreement is measured; the last is the end of apprentice mode."""
PHASES = (500, 2000, 5000)
"""Ends of the phases after apprentice mode, in decisions."""
CALLERS = ("good", "wrong for some", "careless")
AT_ONCE = 10
"""Outcomes that are folded together."""
NOW_S = 1_750_000_000.0
NUMBERS: IntArray = np.arange(1, OFFERS + 1, dtype=np.uint32)
EVERYTHING = np.ones(OFFERS, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Customer:
    """One request: where in the table it is, what is known of it, and the true chances of each offer, ``(6,)``."""

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
        self.table = self._filled(caller)

    def customer(self) -> Customer:
        """The next one."""
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

    def _filled(self, caller: str) -> IntArray:
        """What the caller takes in each cell: the best on the whole; the last but one in two cells; or anything."""
        table = np.empty(2 * len(REGIONS), dtype=np.uint32)
        wrong = self._rng.choice(len(table), 2, replace=False).tolist()
        for cell in range(len(table)):
            age = 64.5 if cell % 2 else 33.5
            mean = np.mean([self._chances(cell // 2, reason, age) for reason in range(3)], axis=0)
            place = 1 if caller == "wrong for some" and cell in wrong else -1
            table[cell] = np.argsort(mean)[place]
        return self._rng.integers(OFFERS, size=len(table), dtype=np.uint32) if caller == "careless" else table


class Pupil:
    """A policy with its arms, in one process."""

    def __init__(self, algorithm: str, parameters: Mapping[str, Any] | None = None) -> None:
        spec = PolicySpec("pupil", 1, algorithm, {"half_life_days": 0, **(parameters or {})}, FEATURES)
        self.policy: Policy = build_policy(spec)
        self._table = ArmTable(self.policy.width)
        self._waiting: list[Observation] = []
        self._prepared = self.policy.prepare(self._table.read(self.policy, NUMBERS, 0))

    def knows(self, customer: Customer) -> int | None:
        """The row of what it takes the caller's choice to be; ``None`` if it has no idea of callers."""
        if not isinstance(self.policy, ApprenticePolicy):
            return None
        x = self.policy.encoder.encode(customer.facts, int(NOW_S * 1000))
        return int(np.argmax(self.policy.caller_model.scores(self._prepared.caller_choice, x)))

    def asked(self, customer: Customer) -> tuple[FloatArray, FloatArray]:
        """Its distribution over the offers, and what it expects of them."""
        x = self.policy.encoder.encode(customer.facts, int(NOW_S * 1000))
        none = np.full(OFFERS, np.nan, dtype=np.float32)
        candidates = Candidates(NUMBERS, none, np.ones(OFFERS), x, customer.facts)
        expected = self.policy.propensities(self._prepared, candidates)
        return self.policy.selector(self._prepared, candidates)(EVERYTHING), expected

    def told(self, customer: Customer, row: int, accepted: bool, expected: float, by_caller: bool) -> None:
        """One outcome; what is learned of it counts from the next fold on."""
        x = self.policy.encoder.encode(customer.facts, int(NOW_S * 1000))
        reward, number = float(accepted), int(NUMBERS[row])
        seen = Observation(number, reward, math.nan, x, expected, customer.facts, by_caller)
        self._waiting.append(seen)
        if len(self._waiting) >= AT_ONCE:
            self.fold()

    def fold(self) -> None:
        """Learn what was told."""
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


def taught(
    town: Town, pupil: Pupil, choices: Sequence[int], asked: int, rng: np.random.Generator
) -> tuple[dict[int, float], dict[int, float]]:
    """Apprentice mode: for ``asked`` new customers, after so many choices of the caller.

    The share of those for whom the policy knows what the caller would choose (none of a policy that has no idea of
    callers), and of those for whom it would choose the same; it does not where it has found something better.
    """
    knows, agreement = {}, {}
    for count in range(1, max(choices) + 1):
        customer = town.customer()
        row = int(town.table[customer.cell])
        expected = pupil.asked(customer)[1][row]
        pupil.told(customer, row, bool(rng.random() < customer.chances[row]), float(expected), True)
        if count in choices:
            pupil.fold()
            found = [town.customer() for _ in range(asked)]
            theirs = [int(town.table[one.cell]) for one in found]
            agreement[count] = float(
                np.mean(
                    [np.argmax(pupil.asked(one)[0]) == row for one, row in zip(found, theirs, strict=True)]
                )
            )
            if pupil.knows(customer) is not None:
                knows[count] = float(
                    np.mean([pupil.knows(one) == row for one, row in zip(found, theirs, strict=True)])
                )
    return knows, agreement


def let_go(
    town: Town, pupil: Pupil, phases: Sequence[int], rng: np.random.Generator
) -> tuple[list[float], list[float]]:
    """The mode is off: the acceptance that is to be expected of the policy, and of the caller, by phase."""
    ours, theirs = np.zeros((2, len(phases)))
    starts = [0, *phases[:-1]]
    for count in range(max(phases)):
        customer = town.customer()
        probabilities, expected = pupil.asked(customer)
        phase = int(np.searchsorted(phases, count, side="right"))
        ours[phase] += probabilities @ customer.chances
        theirs[phase] += customer.chances[town.table[customer.cell]]
        row = sample_index(probabilities, rng.random())
        pupil.told(customer, row, bool(rng.random() < customer.chances[row]), float(expected[row]), False)
    length = np.subtract(phases, starts)
    return (ours / length).tolist(), (theirs / length).tolist()


@dataclass(frozen=True, slots=True)
class Life:
    """One run: see ``taught`` and ``let_go``."""

    knows: Mapping[int, float]
    agreement: Mapping[int, float]
    policy: list[float]
    caller: list[float]


def lived(
    caller: str,
    make: Callable[[], Pupil],
    seed: int,
    *,
    choices: Sequence[int] = CHOICES,
    phases: Sequence[int] = PHASES,
    asked: int = 300,
) -> Life:
    """One run from the first choice to the last decision; the customers depend on ``caller`` and ``seed`` alone."""
    town, rng, pupil = Town(caller, seed), np.random.default_rng(seed + 1000), make()
    return Life(*taught(town, pupil, choices, asked, rng), *let_go(town, pupil, phases, rng))


def measure(seeds: int, caution: float = DEFAULT_CAUTION) -> list[dict[str, Any]]:
    """For each caller and policy the means over seeds, and the standard errors of what was gained on the caller."""
    rows = []
    for caller in CALLERS:
        for algorithm, parameters in (("apprentice", {"caution": caution}), ("calibrated", {})):
            make = partial(Pupil, algorithm, parameters)
            lives = [lived(caller, make, seed) for seed in range(seeds)]
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


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tables of ``docs/evaluation.md``."""
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
    print(tables(rows))


if __name__ == "__main__":
    main()
