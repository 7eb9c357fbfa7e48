"""Bulk imports from CSV and Parquet: what is read, checked and refused. Users read ``docs/importing.md``.

``open_customers``, ``open_propensities`` and ``open_history`` check a whole file's structure and raise
``ImportFileError`` before anything is loaded. The ``ImportRun`` that they give yields cleaned batches, and
counts and describes the rows that it refused. Nothing here touches a store.
"""

from profiles.importing.problems import MAX_REFUSALS, Refusal
from profiles.importing.run import ImportReport, ImportRun, open_customers, open_history, open_propensities
from profiles.importing.source import FileFormat, format_of_content_type, format_of_path

__all__ = [
    "MAX_REFUSALS",
    "FileFormat",
    "ImportReport",
    "ImportRun",
    "Refusal",
    "format_of_content_type",
    "format_of_path",
    "open_customers",
    "open_history",
    "open_propensities",
]
