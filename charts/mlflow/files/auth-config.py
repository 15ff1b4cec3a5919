"""Writes the settings of MLflow's basic-auth app, which takes its database's address from a file only."""

import configparser
import os
from pathlib import Path

config = configparser.ConfigParser(interpolation=None)
config["mlflow"] = {
    "default_permission": os.environ["DEFAULT_PERMISSION"],
    # Seconds in which a password is not checked anew, for that takes as long as a request. One that was changed holds
    # as long.
    "auth_cache_ttl_seconds": "30",
    # MLflow reads the file with interpolation on, where a percent sign is written twice.
    "database_uri": os.environ["MLFLOW_BACKEND_STORE_URI"].replace("%", "%%"),
}
with Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]).open("w", encoding="utf-8") as file:
    config.write(file)
