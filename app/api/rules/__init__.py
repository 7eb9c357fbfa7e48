"""HTTP: rules."""
