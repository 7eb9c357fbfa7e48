"""Privacy: what is held on a person, its erasure, and the trail of both."""
