"""HTTP: customers."""
