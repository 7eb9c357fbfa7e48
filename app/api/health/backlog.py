"""Entries that wait in the log to be archived, and to be learned from."""

from app.state import ApiState


async def oldest_waiting(state: ApiState) -> dict[str, int | None]:
    """Find when the oldest entry of the log that waits was appended (Unix ms), by what it waits for.

    ``None``: nothing waits. Raises ``Unavailable``.
    """
    waiting = {"archived": await state.log_reader.oldest_behind(await state.archive.positions())}
    for key in state.feed.deciding():
        if state.replica.epoch(key) is not None:
            positions = await state.arms.load_positions(key)
            waiting[f"folded into {key}"] = await state.log_reader.oldest_behind(positions)
    return waiting
