"""Forges: open, update and close pull requests."""
