"""What a run of the demo serves: the service in a folder of its own, its keys, and a sample page."""
