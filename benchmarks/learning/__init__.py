"""The learning quality of policies: ours and those of other libraries, on the same streams."""
