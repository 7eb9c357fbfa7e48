"""Policies before they decide: the result they would have had, offline and in the shadow."""
