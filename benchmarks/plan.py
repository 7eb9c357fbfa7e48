"""Plans: the sizes and times of the measurements."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "decide.json"
RULES_RESULTS = ROOT / "benchmarks" / "results" / "rules.json"
EVENTS_RESULTS = ROOT / "benchmarks" / "results" / "events.json"
TRIGGERS_RESULTS = ROOT / "benchmarks" / "results" / "triggers.json"
PERSONS_RESULTS = ROOT / "benchmarks" / "results" / "persons.json"
QUICK_RESULTS = ROOT / "var" / "bench-quick.json"

OFFERS = 200
ONE_SLOT = "home"
THREE_SLOTS = "home-3"
FRESH = "freshness"


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes and times of one run. Every figure is the median of ``repetitions``; ``warm_up_s`` is not counted."""

    results: Path
    customers: int
    connections: tuple[int, ...]
    repetitions: int
    seconds: int
    warm_up_s: int
    samples: int

    @property
    def main_connections(self) -> int:
        """The number of connections at which ratio, CPU time and the extra rows are measured."""
        return 16


FULL = Plan(
    results=RESULTS,
    customers=100_000,
    connections=(1, 16, 32),
    repetitions=3,
    seconds=6,
    warm_up_s=2,
    samples=300,
)
QUICK = Plan(
    results=QUICK_RESULTS,
    customers=10_000,
    connections=(1, 16, 32),
    repetitions=1,
    seconds=2,
    warm_up_s=1,
    samples=50,
)
