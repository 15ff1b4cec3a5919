"""S3 stores, and the move from one to another."""
