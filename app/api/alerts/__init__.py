"""Alerts that fire, or have fired."""
