"""The catalogue: its kinds, its documents, the arrays that requests touch, and its versions in Postgres."""
