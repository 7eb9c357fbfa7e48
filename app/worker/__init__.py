"""The background jobs: learner, archiver, expirer. Several workers may run at once."""
