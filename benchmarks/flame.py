"""``python -m benchmarks.flame STACKS SVG``: draw collapsed stacks, as profilers write them, as a flame graph.

A line of ``STACKS`` is ``frame;frame;... count``, from the outermost frame on. Frames with the same callers lie side by
side, as wide as the share of samples they are in; pointing at one shows its name and share (Gregg, *The flame graph*,
Communications of the ACM 59, 2016). Frames below ``LEAST`` of all samples are left out.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, ROW, LEAST = 1200, 17, 0.002
LETTER = 6.3
"""Width of a letter in the unit of the picture, about."""
_LINE_NUMBER = re.compile(r":\d+(?=\)?$)")
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="monospace" font-size="11">'
    '<rect width="100%" height="100%" fill="#fff"/><text x="4" y="14">{title}</text>\n'
)


@dataclass
class Frame:
    """A frame with the same callers: samples that it is in, and what it calls."""

    samples: int = 0
    calls: dict[str, "Frame"] = field(default_factory=dict)

    def add(self, stack: list[str], samples: int) -> None:
        """Add a stack below this frame."""
        self.samples += samples
        if stack:
            self.calls.setdefault(stack[0], Frame()).add(stack[1:], samples)

    def depth(self, least: float) -> int:
        """Return how many rows of frames there are that are in at least so many samples."""
        return 1 + max((f.depth(least) for f in self.calls.values() if f.samples >= least), default=0)


def read_stacks(lines: Iterator[str], below: str) -> Frame:
    """Collect stacks that hold a frame whose name begins with ``below``, from that frame on; all if it is empty."""
    root = Frame()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [_LINE_NUMBER.sub("", name) for name in stack.split(";")]
        first = next((n for n, name in enumerate(frames) if name.startswith(below)), None)
        if first is not None:
            root.add(frames[first:], int(count))
    return root


def draw(root: Frame, title: str) -> str:
    """Return the picture."""
    least = LEAST * root.samples
    height = ROW * (1 + root.depth(least))
    found = [HEAD.format(width=WIDTH, height=height, title=escape(title))]
    found += _boxes(root, 0.0, 1, least, WIDTH / max(root.samples, 1), root.samples)
    return "".join(found) + "</svg>\n"


def _boxes(frame: Frame, left: float, row: int, least: float, unit: float, every: int) -> Iterator[str]:
    for name, called in sorted(frame.calls.items()):
        width = called.samples * unit
        if called.samples >= least:
            shade = 40 + sum(name.encode()) % 40
            said = escape(f"{name}: {called.samples / every:.1%}")
            text = escape(name[: max(int(width / LETTER) - 1, 0)])
            y, fill = row * ROW, f"hsl({shade - 20},85%,{shade // 4 + 62}%)"
            yield (
                f'<g><title>{said}</title><rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}"'
                f' fill="{fill}"/><text x="{left + 2:.1f}" y="{y + 12}">{text}</text></g>\n'
            )
            yield from _boxes(called, left, row + 1, least, unit, every)
        left += width


def main() -> int:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flame")
    parser.add_argument("stacks", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--below", default="", help="only what is called below a frame whose name begins so")
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    with options.stacks.open(encoding="utf-8") as lines:
        root = read_stacks(lines, options.below)
    options.svg.write_text(draw(root, f"{options.title} ({root.samples:,} samples)"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
