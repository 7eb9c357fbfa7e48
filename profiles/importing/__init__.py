"""Bulk imports from CSV and Parquet: what is read, checked and refused. Users read ``docs/importing.md``.

``open_customers``, ``open_propensities`` and ``open_history`` check a whole file's structure and raise
``ImportFileError`` before anything is loaded. The ``ImportRun`` that they give yields cleaned batches, and
counts and describes the rows that it refused. Nothing here touches a store.
"""
