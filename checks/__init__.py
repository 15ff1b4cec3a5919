"""Checks of the repository itself, which lint runs and people can run: each is a program of its own."""
