"""Forges: where pull requests are opened, kept up to date and closed."""
