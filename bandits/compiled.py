"""Compiled forms of the steps that every decision takes (``_kernels.c``), where installation found a C compiler.

They compute the same bits as the numpy steps beside each call: dozens of calls, each of which takes longer to begin
than to do. Without a compiler, or with the environment variable ``NEXTBEST_COMPILED=0``, the numpy steps are taken.
"""

import os
from types import ModuleType

kernels: ModuleType | None
"""The compiled module, or ``None``. Looked up at each call, so that tests can compare both ways."""

try:
    from bandits import _kernels
except ImportError:
    kernels = None
else:
    kernels = _kernels if os.environ.get("NEXTBEST_COMPILED", "1") != "0" else None
