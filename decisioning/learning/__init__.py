"""Learning: outcomes folded into arms, and arms brought into the memory of each process."""
