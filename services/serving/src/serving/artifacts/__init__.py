"""Where the files of model versions come from: S3, MLflow's artifact proxy, or a folder."""
