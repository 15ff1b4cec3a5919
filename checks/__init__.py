"""Checks of the repository itself, which lint runs and people can run. Each is a separate program."""
