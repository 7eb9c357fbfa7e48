"""How well policies learn: ours and those of other libraries, on the same streams."""
