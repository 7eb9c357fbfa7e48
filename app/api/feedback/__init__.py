"""HTTP: feedback."""
