"""The prediction log: a sample of the rows with their answers, as compressed files in S3. See docs/closed-loop.md."""
