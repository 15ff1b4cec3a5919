"""Mutation testing: put small faults into the code, one at a time, and see whether the unit tests find them.

`make mutants` runs it. docs/testing.md explains the result.
"""
