"""Hold-outs: customers to whom nothing is offered, so that it can be measured what offering is worth."""
