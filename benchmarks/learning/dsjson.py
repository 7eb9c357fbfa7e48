"""``python -m benchmarks.learning.dsjson FILE ...``: exported decisions, read by the parser of Vowpal Wabbit itself."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def mistakes(lines: Iterable[str]) -> list[str]:
    """Name the lines of which the parser makes something else than they say: actions, cost, probability."""
    import vowpalwabbit

    reader = vowpalwabbit.Workspace("--cb_explore_adf --dsjson --quiet")
    found = []
    for number, line in enumerate(lines, 1):
        said = json.loads(line)
        examples = reader.parse(line)
        read = [
            (index, cost.cost, cost.probability)
            for index, example in enumerate(examples[1:])  # the first has what the actions share
            for cost in example.get_label(vowpalwabbit.LabelType.CONTEXTUAL_BANDIT).costs
        ]
        if len(examples) != 1 + len(said["c"]["_multi"]) or not _agrees(read, said):
            found.append(f"line {number}: {read} is read of {line[:200]}")
        reader.finish_example(examples)
    return found


def _agrees(read: list[tuple[int, float, float]], said: dict[str, Any]) -> bool:
    if len(read) != 1 or read[0][0] != said["_labelIndex"]:
        return False
    pairs = zip(read[0][1:], (said["_label_cost"], said["_label_probability"]), strict=True)
    return all(abs(one - other) <= 1e-6 * max(1.0, abs(other)) for one, other in pairs)


def main() -> int:
    """Read the files; the exit status is 1 if a line is read as something else."""
    count, found = 0, list[str]()
    for path in map(Path, sys.argv[1:]):
        with path.open(encoding="utf-8") as file:
            lines = list(file)
        count += len(lines)
        found += [f"{path}, {mistake}" for mistake in mistakes(lines)]
    print(*found[:10], f"{count} lines, {len(found)} of them read as something else", sep="\n")
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main())
