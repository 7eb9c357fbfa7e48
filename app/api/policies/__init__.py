"""The policies there are: registered, warmed up, retired, revived."""
