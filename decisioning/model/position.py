"""Positions in the streams of the log."""

START = "0-0"


def order(position: str) -> tuple[int, int]:
    """A stream position as a pair that compares as Redis does."""
    at_ms, _, sequence = position.partition("-")
    return int(at_ms), int(sequence or 0)
