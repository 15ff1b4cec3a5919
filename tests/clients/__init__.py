"""Clients that people use, each asking a real serving process in every way that it knows."""
