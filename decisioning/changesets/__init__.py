"""Change sets: drafts of changes of the catalogue that are looked at, approved by somebody else, and applied as one."""
