"""Policies: estimating propensities, choosing from them, and learning from outcomes."""
