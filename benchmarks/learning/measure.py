"""Tasks, and the two processes that play them."""

import dataclasses
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console

from benchmarks.learning import arena, entrants, real, report, worlds
from benchmarks.learning.arena import Score
from benchmarks.learning.report import Row, Seeds
from benchmarks.learning.rounds import Rounds, Stream
from benchmarks.machine import describe

WORKERS = 2
SINGLE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One seed of one stream, played by everybody. ``rounds``: only the first of them; 0: all."""

    stream: int
    seed: int
    data: Path | None
    rounds: int
    peers: bool
    policies: tuple[str, ...]


def streams(data: Path | None) -> tuple[Stream, ...]:
    """All streams, with real data if there is a folder of it."""
    return worlds.WORLDS + (real.streams(data) if data else ())


def measure(tasks: list[Task], console: Console) -> tuple[list[Row], Seeds]:
    """Play all tasks in two processes of one thread each."""
    started = time.monotonic()
    known = streams(tasks[0].data)
    played: dict[int, dict[int, list[Score]]] = defaultdict(dict)
    for done, (task, scores) in enumerate(_played(tasks), start=1):
        played[task.stream][task.seed] = scores
        console.print(
            f"[dim]{time.monotonic() - started:5.0f} s  {done}/{len(tasks)}[/dim]  "
            f"{known[task.stream].name}, seed {task.seed}",
            highlight=False,
        )
    ours = frozenset(entrant.name for entrant in entrants.present(False) if entrant.ours)
    rows, rewards = [], {}
    for number in sorted(played):
        stream = known[number]
        by_seed = [played[number][seed] for seed in sorted(played[number])]
        rows += report.rows_of(stream, by_seed, ours)
        rewards[stream.name] = {
            scores[0].entrant: [round(score.mean_reward, 5) for score in scores]
            for scores in zip(*by_seed, strict=True)
        }
    return rows, Seeds(
        machine=describe(),
        minutes=round((time.monotonic() - started) / 60, 1),
        missing=list(entrants.missing()),
        subsampled=[stream.name for stream in known if stream.subsampled],
        rewards=rewards,
    )


def _played(tasks: list[Task]) -> Iterator[tuple[Task, list[Score]]]:
    os.environ.update(dict.fromkeys(SINGLE_THREAD, "1"))  # before the workers import numpy
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for future in as_completed([pool.submit(run, task) for task in tasks]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run(task: Task) -> tuple[Task, list[Score]]:
    """One task, in a worker."""
    rounds = streams(task.data)[task.stream].make(task.seed)
    if task.rounds:
        rounds = first(rounds, task.rounds)
    who = tuple(
        entrant
        for entrant in entrants.present(task.peers)
        if entrant.suits(rounds) and (not task.policies or any(p in entrant.name for p in task.policies))
    )
    return task, arena.play(rounds, who, task.seed)


def first(rounds: Rounds, count: int) -> Rounds:
    """Only the first rounds."""
    return dataclasses.replace(rounds, x=rounds.x[:count])
