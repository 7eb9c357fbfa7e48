"""Export: the log, customers and arms as files for others, and logs of others read back."""
