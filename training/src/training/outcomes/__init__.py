"""What was answered beside what turned out to be true: docs/closed-loop.md. `join.joined` is the way in."""
