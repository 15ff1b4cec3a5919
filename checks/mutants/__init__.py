"""Mutation testing: small faults put into the code one at a time, to see whether the unit tests find them.

`make mutants` runs it. docs/testing.md says how to read the result.
"""
