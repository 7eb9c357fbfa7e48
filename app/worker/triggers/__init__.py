"""Jobs of triggers."""
