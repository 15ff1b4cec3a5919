"""Set up a fork, check it, and migrate it."""
