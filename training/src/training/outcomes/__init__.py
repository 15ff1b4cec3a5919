"""Answers compared with the truth: docs/closed-loop.md. `join.joined` is the way in."""
