"""The commands: each reads its options, calls the steps, and shows their result."""
