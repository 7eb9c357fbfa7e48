"""The path of a decision; ``service`` reads it from top to bottom."""
