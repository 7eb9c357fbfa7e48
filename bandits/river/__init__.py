"""Policies that are river pipelines: their inputs, their stored form, and the check before they are used."""
