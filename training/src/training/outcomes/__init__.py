"""Compare answers with the truth (docs/closed-loop.md). The entry point is `join.joined`."""
