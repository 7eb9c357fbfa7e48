"""The rights of a person: what is held on a person outside of the log, its erasure, and the trail of both."""
