"""Reports on what goes on, whom the rules leave empty, and alerts."""
