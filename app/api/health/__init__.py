"""Whether a process is alive and ready, and what it counts."""
