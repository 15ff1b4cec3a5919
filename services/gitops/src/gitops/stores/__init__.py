"""S3 stores, and what moves from one to the other."""
