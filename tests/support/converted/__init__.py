"""Model files as converters write them, with what the libraries that trained them say."""
