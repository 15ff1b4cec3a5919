"""Clients that people use. Each requests predictions from a real serving process in every way that it supports."""
