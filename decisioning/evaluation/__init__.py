"""Evaluation: replay, off-policy estimates, simulation, shadows and reports."""
