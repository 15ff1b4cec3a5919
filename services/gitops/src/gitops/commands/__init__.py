"""The commands: each reads its options, runs the steps, and shows the result."""
