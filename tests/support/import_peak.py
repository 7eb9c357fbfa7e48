"""The memory that reading a file of customers takes: ``python -m tests.support.import_peak FILE [FILE ...]``.

Prints, for each file, what came of it and the highest resident memory of this process so far, in MiB above that of a
process that has read a small file.
"""

import resource
import sys
import time
from pathlib import Path

from profiles.errors import ImportFileError
from profiles.importing.run import open_customers


def peak_mib() -> float:
    """The highest resident memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(data: "Path | bytes", file_format: "str | None" = None) -> str:
    """Read all batches as an import does; returns what came of it."""
    try:
        run = open_customers(data, file_format)  # type: ignore[arg-type]
        for _ in run.batches():
            pass
    except ImportFileError as error:
        return f"refused: {error}"
    return f"{run.read} rows, {run.refused} refused"


if __name__ == "__main__":
    read(b"customer_id,age\na,3\n", "csv")
    base = peak_mib()
    for name in sys.argv[1:]:
        started = time.perf_counter()
        result = read(Path(name))
        took = time.perf_counter() - started
        sys.stdout.write(f"{name}: {result}; {peak_mib() - base:.0f} MiB, {took:.1f} s\n")
