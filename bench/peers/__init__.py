"""The serving API beside the servers that a user would otherwise pick: `make bench-peers`."""
