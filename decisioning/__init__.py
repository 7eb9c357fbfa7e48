"""The decision path: from a request to a ranking, from an outcome to what is learned."""
