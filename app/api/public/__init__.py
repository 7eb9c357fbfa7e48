"""Decisions and feedback for pages and apps, with publishable keys."""
