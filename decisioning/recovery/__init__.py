"""Recovery: what a lost Redis held, rebuilt from Postgres."""
