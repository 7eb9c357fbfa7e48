"""Dead letters: what was set aside, to be looked at, processed again or dropped."""
