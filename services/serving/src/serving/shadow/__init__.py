"""The shadow: a second version of the main model that computes rows that were answered already, for comparison.

It gets rows only after their answer, and only a sample of them. Its results are measured, but never sent as answers.
"""
