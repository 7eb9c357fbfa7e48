"""Customer profiles: their stores, their cache, and bulk imports."""
