"""Treatments: texts with variables, scripts for agents, and the search over them."""
