"""Events of customers: they are checked, recorded once, and change what the next decision knows."""
