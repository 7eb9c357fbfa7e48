"""Policies: how propensities are estimated, how a choice is made from them, and what is learned from outcomes."""
