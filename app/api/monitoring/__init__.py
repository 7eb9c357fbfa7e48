"""Drift of acceptance, and canaries beside their champions."""
