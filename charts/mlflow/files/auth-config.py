"""Writes the settings of MLflow's basic-auth app, which takes its database's address from a file only."""

import configparser
import os
from pathlib import Path

config = configparser.ConfigParser(interpolation=None)
config["mlflow"] = {
    "default_permission": os.environ["DEFAULT_PERMISSION"],
    # Seconds for which MLflow does not check a password again: a check takes as long as a request. An old password also
    # works for that long after a change.
    "auth_cache_ttl_seconds": "30",
    # MLflow reads the file with interpolation, where a percent sign is written twice.
    "database_uri": os.environ["MLFLOW_BACKEND_STORE_URI"].replace("%", "%%"),
}
with Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]).open("w", encoding="utf-8") as file:
    config.write(file)
