"""Whose data it is: what is held on a person outside of the log, its erasure, and the trail of both."""
