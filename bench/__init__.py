"""Benchmarks of the serving API over loopback: `make bench`."""
