"""Checks of the repository itself. `checks/lint` runs them, and each is also a program for people."""
