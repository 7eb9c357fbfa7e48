"""The garbage collector of processes that serve for long."""

import gc

THRESHOLDS = 20_000, 20, 20
"""Objects made before young ones are looked through, and so on."""

STARTING = 1_000_000, 20, 20
"""The same while modules are imported: what they make stays."""


def spare_start() -> None:
    """Let the collector look seldom for what modules leave behind, until ``settle_collector``.

    Looking through all that is there, again and again while it becomes more, takes a ninth of the time of a start.
    """
    gc.set_threshold(*STARTING)


def settle_collector(*, has_worked: bool = False) -> None:
    """Let the collector leave alone what is there now, and look seldom for what comes.

    What is there at the start stays: it need not be looked at again and again, in the middle of requests. What comes
    leaves hardly any circles behind, so looking for them seldom costs little memory.

    ``has_worked``: modules are not all that there is, so what can go goes first. Of the 400,000 objects of a start only
    3,000 can, which takes an eighth of a second to find out.
    """
    if has_worked or gc.get_freeze_count():  # it has started before
        gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
