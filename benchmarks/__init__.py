"""Benchmarks of nextbest on this machine: decisions, feedback and freshness, measured with wrk. See ``make bench``."""
