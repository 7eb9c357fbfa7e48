"""The policy algorithms, one in each module."""
