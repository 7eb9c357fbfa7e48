"""HTTP: policies."""
