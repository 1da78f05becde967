"""One file for each reader of a user's input; each holds a list `READERS`."""
