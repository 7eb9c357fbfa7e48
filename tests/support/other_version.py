"""A process of another version, as far as Redis can tell: ``python -m tests.support.other_version serve|work``.

Its function library has other source, so it has other names; all else is the same.
"""

from app.cli import main
from storage import functions

if __name__ == "__main__":
    functions.OURS = functions.Library.of(functions.library_source() + "\n-- another version")
    main()
