"""Customers: their records, propensities and suppressions."""
