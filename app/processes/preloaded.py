"""The modules of API processes that share a port, imported once, by the process that they are forked from.

Each of them starts in a tenth of the time that the imports take, also one that takes the place of another; and the
memory of what does not change is theirs together.
"""

import gc

from app.processes.collector import spare_start

spare_start()

import app.main  # noqa: E402, F401

# What is here stays; were it looked at, its memory would become each process's own.
gc.collect()
gc.freeze()
