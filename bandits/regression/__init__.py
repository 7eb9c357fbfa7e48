"""Regression models on additive sums, and the policies' common ground on them."""
