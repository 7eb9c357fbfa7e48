"""The algorithms: one a module."""
