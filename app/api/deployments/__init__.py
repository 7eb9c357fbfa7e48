"""Which policies decide in a placement, for whom, and how that is changed."""
