"""Bulk imports of customers, propensities and history."""
