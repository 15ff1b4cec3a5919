"""Compares the serving API with the servers that a user would otherwise pick: `make bench-peers`."""
