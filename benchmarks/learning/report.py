"""The results: their form, the intervals, a table for the terminal, and the block in the documentation."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit

from benchmarks.learning import real, worlds
from benchmarks.learning.arena import Score
from benchmarks.learning.entrants import DEFAULT, POLICIES, REFERENCES
from benchmarks.learning.rounds import Stream
from benchmarks.plan import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "learning.json"
SEEDS = ROOT / "benchmarks" / "results" / "learning-seeds.json"
PART_FOLDER = ROOT / "var" / "bench-learning"
DOCS = ROOT / "docs" / "learning.md"
BLOCK = re.compile(r"(<!-- bench:learning -->\n).*?(<!-- /bench -->)", re.DOTALL)
NOT_RANKED = frozenset(entrant.name for entrant in REFERENCES)


class Row(BaseModel):
    """The result of one policy on one stream. ``ci95``: the lower and the upper end; times are process time."""

    model_config = ConfigDict(extra="forbid")

    stream: str
    policy: str
    ours: bool
    seeds: Annotated[int, Field(ge=1)]
    mean_reward: float
    ci95: tuple[float, float]
    us_per_decision: float
    us_per_update: float


class Seeds(BaseModel):
    """The basis of the intervals: mean reward by stream, policy and seed, and the circumstances.

    ``subsampled``: streams whose seeds are random halves of the same data.
    """

    model_config = ConfigDict(extra="forbid")

    machine: str
    minutes: float
    missing: list[str]
    subsampled: list[str]
    rewards: dict[str, dict[str, list[float]]]


ROWS = TypeAdapter(list[Row])


def half_width(values: Sequence[float], subsampled: bool = False) -> float:
    """Half of the 95 % interval of a mean over seeds (Student's t); 0 for a single seed.

    The standard deviation over random halves of a finite sample equals the standard error of the whole sample's mean,
    so it is not divided by the root of the number of seeds.
    """
    if len(values) < 2:
        return 0.0
    error = float(np.std(values, ddof=1)) / (1.0 if subsampled else len(values) ** 0.5)
    return float(stdtrit(len(values) - 1, 0.975)) * error


def rows_of(stream: Stream, scores: Iterable[Sequence[Score]], ours: frozenset[str]) -> list[Row]:
    """The rows of one stream. ``scores``: by seed, each in the same order of entrants."""
    rows = []
    for played in zip(*scores, strict=True):
        rewards = [score.mean_reward for score in played]
        mean, half = float(np.mean(rewards)), half_width(rewards, stream.subsampled)
        name = played[0].entrant
        rows.append(
            Row(
                stream=stream.name,
                policy=name,
                ours=name in ours,
                seeds=len(played),
                mean_reward=round(mean, 4),
                ci95=(round(mean - half, 4), round(mean + half, 4)),
                us_per_decision=round(float(np.median([s.us_per_decision for s in played])), 1),
                us_per_update=round(float(np.median([s.us_per_update for s in played])), 1),
            )
        )
    return rows


def save(rows: list[Row], seeds: Seeds, folder: Path = RESULTS.parent) -> None:
    """Write both files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ",\n  ".join(row.model_dump_json() for row in rows)
    (folder / RESULTS.name).write_text(f"[\n  {lines}\n]\n")
    (folder / SEEDS.name).write_text(seeds.model_dump_json(indent=1) + "\n")


def load(folder: Path = RESULTS.parent) -> tuple[list[Row], Seeds]:
    """Read them again. Raises ``pydantic.ValidationError`` if they have another form."""
    rows = ROWS.validate_json((folder / RESULTS.name).read_bytes())
    return rows, Seeds.model_validate_json((folder / SEEDS.name).read_bytes())


def merged(old: tuple[list[Row], Seeds], new: tuple[list[Row], Seeds]) -> tuple[list[Row], Seeds]:
    """New results in the place of old ones of the same stream and policy, in the order of a whole run."""
    rows = {(row.stream, row.policy): row for row in (*old[0], *new[0])}
    known = [stream.name for stream in (*worlds.WORLDS, *real.streams(Path()))]
    found = {stream for stream, _ in rows}
    streams = [name for name in known if name in found] + sorted(found.difference(known))
    policies = [policy for policy in POLICIES if any(policy == name for _, name in rows)]
    rewards = {
        stream: {**old[1].rewards.get(stream, {}), **new[1].rewards.get(stream, {})} for stream in streams
    }
    kept = [rows[stream, policy] for stream in streams for policy in policies if (stream, policy) in rows]
    minutes = round(old[1].minutes + new[1].minutes, 1)
    # What is missing now may have played then.
    missing = [name for name in new[1].missing if name in old[1].missing]
    return kept, new[1].model_copy(update={"minutes": minutes, "missing": missing, "rewards": rewards})


def level_with_best(seeds: Seeds, stream: str) -> frozenset[str]:
    """Policies of which it cannot be said that the one with the highest mean is better: paired over seeds, 95 %."""
    rewards = {name: v for name, v in seeds.rewards[stream].items() if name not in NOT_RANKED}
    best = max(rewards, key=lambda name: float(np.mean(rewards[name])))
    return frozenset(name for name in rewards if _lead(seeds, stream, best, name)[0] <= 0.0)


def _lead(seeds: Seeds, stream: str, first: str, second: str) -> tuple[float, float]:
    """The 95 % interval of how much more the first earns than the second."""
    ours, theirs = (np.array(seeds.rewards[stream][name]) for name in (first, second))
    gaps = ours - theirs
    half = half_width(gaps.tolist(), stream in seeds.subsampled)
    return float(gaps.mean()) - half, float(gaps.mean()) + half


def show(rows: list[Row], seeds: Seeds, console: Console) -> None:
    """Print a table for each stream."""
    for stream in dict.fromkeys(row.stream for row in rows):
        table = Table("policy", "mean reward", "95 %", "µs/decision", "µs/update", title=stream)
        for column in table.columns[1:]:
            column.justify = "right"
        level = level_with_best(seeds, stream)
        for row in sorted((r for r in rows if r.stream == stream), key=lambda r: -r.mean_reward):
            style = "bold" if row.ours else "dim" if row.policy in NOT_RANKED else ""
            interval = f"{row.ci95[0]:.4f} to {row.ci95[1]:.4f}"
            mark = " =" if row.policy in level else "  "
            times = (f"{row.us_per_decision:.0f}", f"{row.us_per_update:.0f}")
            table.add_row(row.policy, f"{row.mean_reward:.4f}{mark}", interval, *times, style=style)
        console.print(table)
    console.print(f"{seeds.machine}; {seeds.minutes:.0f} minutes. = level with the best.", style="dim")


def markdown(rows: list[Row], seeds: Seeds) -> str:
    """Format what the documentation says: our default against the best of the others, all means, and times."""
    parts = [_summary(rows, seeds), _means(rows, seeds), _times(rows), f"Machine: {seeds.machine}."]
    if seeds.missing:
        parts.append(f"Not installed when this was measured: {', '.join(seeds.missing)}.")
    return "\n\n".join(parts) + "\n"


def _summary(rows: list[Row], seeds: Seeds) -> str:
    lines = [
        "| stream | random | oracle | our default | best other library | our lead, 95 % | |",
        "|---|---:|---:|---:|---|---:|---|",
    ]
    for stream in dict.fromkeys(row.stream for row in rows):
        found = {row.policy: row for row in rows if row.stream == stream}
        peers = [row for row in found.values() if not row.ours and row.policy not in NOT_RANKED]
        if DEFAULT not in found or not peers:
            continue
        best = max(peers, key=lambda row: row.mean_reward)
        low, high = _lead(seeds, stream, DEFAULT, best.policy)
        verdict = "ahead" if low > 0 else "**behind**" if high < 0 else "level"
        ends = (f"{found[name].mean_reward:.3f}" if name in found else "" for name in ("random", "oracle"))
        lines.append(
            f"| {stream} | {' | '.join(ends)} | {_interval(found[DEFAULT])} "
            f"| {best.policy} {_interval(best)} | {low:+.4f} to {high:+.4f} | {verdict} |"
        )
    return "\n".join(lines)


def _interval(row: Row) -> str:
    return f"{row.mean_reward:.4f} ± {(row.ci95[1] - row.ci95[0]) / 2:.4f}"


def _means(rows: list[Row], seeds: Seeds) -> str:
    streams = list(dict.fromkeys(row.stream for row in rows))
    level = {stream: level_with_best(seeds, stream) for stream in streams}
    found = {(row.policy, row.stream): row for row in rows}
    lines = ["| policy | " + " | ".join(streams) + " |", "|---|" + "---:|" * len(streams)]
    for policy, ours in dict.fromkeys((row.policy, row.ours) for row in rows):
        cells = []
        for stream in streams:
            row = found.get((policy, stream))
            mean = f"{row.mean_reward:.4f}" if row else ""
            cells.append(f"**{mean}**" if policy in level[stream] else mean)
        lines.append(f"| {f'`{policy}`' if ours else policy} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(rows: list[Row]) -> str:
    streams = [s for s in ("logistic, 20 offers", "logistic, 100 offers") if any(r.stream == s for r in rows)]
    found = {(row.policy, row.stream): row for row in rows}
    heads = " | ".join(f"{stream}: decision | update" for stream in streams)
    lines = [f"| µs | {heads} |", "|---|" + "---:|---:|" * len(streams)]
    for policy, ours in dict.fromkeys((row.policy, row.ours) for row in rows if row.policy not in NOT_RANKED):
        cells = []
        for stream in streams:
            row = found.get((policy, stream))
            cells += [f"{row.us_per_decision:,.0f}", f"{row.us_per_update:,.0f}"] if row else ["", ""]
        if any(cells):
            lines.append(f"| {f'`{policy}`' if ours else policy} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rewrite(docs: Path, rows: list[Row], seeds: Seeds) -> bool:
    """Put the tables between the markers; says whether it has them."""
    old = docs.read_text()
    new, count = BLOCK.subn(lambda match: match[1] + markdown(rows, seeds) + match[2], old)
    if new != old:
        docs.write_text(new)
    return count == 1
