"""Upgrade the database to the schema of this MLflow version.

The command `mlflow db upgrade` takes the address only as an argument, which every process list shows. Without a
connection, it also retries for minutes and names no cause. This script fails at once, and the Job retries.
"""

import os
import sys

import sqlalchemy
from mlflow.cli import cli

EXAMPLE = "postgresql+psycopg://USER@HOST:5432/mlflow"
address = os.environ["MLFLOW_BACKEND_STORE_URI"]
secret = f"`uri` of Secret {os.environ['SECRET_NAME']}"
try:
    sqlalchemy.create_engine(address).connect().close()
except ImportError as error:
    # The part before :// names the database and its driver. It contains no secret.
    scheme = address.partition("://")[0]
    sys.exit(
        f"{secret} starts with {scheme}://, whose driver ({error.name}) is not in this image. "
        f"For PostgreSQL it is {EXAMPLE}; for another database, use an image that has its driver."
    )
except sqlalchemy.exc.DBAPIError as error:
    sys.exit(f"No connection to the database with {secret}: {error.orig}")
except (sqlalchemy.exc.SQLAlchemyError, ValueError):
    sys.exit(f"{secret} is not the address of a database, such as {EXAMPLE}.")
cli(["db", "upgrade", address], standalone_mode=False)
