"""Policies that are river pipelines: their inputs, their stored form, and the trial before they are used."""
