"""HTTP: reports."""
