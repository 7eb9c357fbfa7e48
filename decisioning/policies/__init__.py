"""The registered policies of an installation, in Postgres and in the memory of a process."""
