"""The shadow: a second version of the main model that computes what was answered already, to be compared with it.

Rows reach it only after their answer, and only a share of them. What it does is measured, and never answered.
"""
