"""Feedback: the outcomes of decided offers."""
