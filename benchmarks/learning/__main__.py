"""``python -m benchmarks.learning``: let policies play, show, save; or put saved results into the documentation."""

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks.learning import entrants, report
from benchmarks.learning.measure import Task, measure, streams
from benchmarks.machine import BenchError
from benchmarks.plan import ROOT

SEEDS = 10
FIRST_SEED = 100
"""Parameters, ours and theirs, were chosen on seeds below."""
QUICK_SEEDS = 2
QUICK_ROUNDS = 500
DATA = ROOT.parent / "shared" / "data"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit status is 2 if it cannot be measured here."""
    options = _parser().parse_args(arguments)
    console = Console()
    if options.docs:
        found = report.rewrite(report.DOCS, *report.load())
        console.print(
            f"{report.DOCS.relative_to(ROOT)} has {'the results' if found else 'no place for them'}."
        )
        return 0 if found else 2
    data = None if options.quick else options.data
    if entrants.missing() and not options.quick:
        console.print(f"not installed, so not compared: {', '.join(entrants.missing())}", style="yellow")
    tasks = [
        Task(
            number,
            seed,
            data,
            QUICK_ROUNDS if options.quick else 0,
            not options.quick,
            tuple(options.policy),
        )
        for seed in range(FIRST_SEED, FIRST_SEED + (QUICK_SEEDS if options.quick else options.seeds))
        for number, stream in enumerate(streams(data))
        if not options.stream or any(part in stream.name for part in options.stream)
    ]
    try:
        rows, seeds = measure(tasks, console)
    except BenchError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 2
    part = options.quick or ((options.stream or options.policy) and not options.keep)
    folder = options.out or (report.PART_FOLDER if part else report.RESULTS.parent)
    if options.keep:
        rows, seeds = report.merged(report.load(folder), (rows, seeds))
    report.save(rows, seeds, folder)
    report.show(rows, seeds, console)
    console.print(f"written to {folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning", description="Compare how well policies learn."
    )
    parser.add_argument(
        "--quick", action="store_true", help="short streams, two seeds, without other libraries"
    )
    parser.add_argument(
        "--docs", action="store_true", help="only put the saved results into docs/learning.md"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the real data sets")
    parser.add_argument("--out", type=Path, help="the folder to write to")
    parser.add_argument("--stream", action="append", default=[], help="only streams with this in their name")
    parser.add_argument("--policy", action="append", default=[], help="only policies with this in their name")
    parser.add_argument(
        "--keep", action="store_true", help="keep saved results of what does not play: seeds are the same"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
