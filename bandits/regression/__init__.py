"""Regression models on additive sums, and the base of the policies on them."""
