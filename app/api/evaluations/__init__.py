"""HTTP: evaluations."""
