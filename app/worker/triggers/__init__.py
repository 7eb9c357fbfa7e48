"""Triggers: what fires, and what follows."""
