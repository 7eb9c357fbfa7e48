"""HTTP: decisions."""
