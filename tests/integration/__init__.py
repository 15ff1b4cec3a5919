"""The parts together, against real MLflow, Postgres and S3 servers."""
