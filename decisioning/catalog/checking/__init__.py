"""Looks at changes of the catalogue: what would be lost, and what is likely to be a mistake."""
