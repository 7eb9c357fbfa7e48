"""HTTP: scripts."""
