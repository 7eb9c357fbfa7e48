"""Events: what customers do, and what happens to them."""
