"""Compare answers with the truth (docs/outcomes.md). The entry point is `join.joined`."""
