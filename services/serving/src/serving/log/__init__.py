"""The prediction log: a sample of the rows with their answers, as compressed files in S3 (docs/prediction-log.md)."""
