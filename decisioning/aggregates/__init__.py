"""Aggregates and concepts, made of events: checked, named in rules, and compiled for folding and reading."""
