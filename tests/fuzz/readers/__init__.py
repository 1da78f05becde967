"""One file per kind of user input, each with a list `READERS`."""
