"""Merges of visitors that are to be finished."""
