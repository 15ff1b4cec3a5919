"""Brings the database to this MLflow's schema.

`mlflow db upgrade` takes the address as an argument only, where any process list would show it. Without a connection it
would also go on trying for minutes and name no cause; here the Job tries again by itself.
"""

import os
import sys

import sqlalchemy
from mlflow.cli import cli

address = os.environ["MLFLOW_BACKEND_STORE_URI"]
secret = f"`uri` of Secret {os.environ['SECRET_NAME']}"
try:
    sqlalchemy.create_engine(address).connect().close()
except sqlalchemy.exc.DBAPIError as error:
    sys.exit(f"No connection to the database with {secret}: {error.orig}")
except (sqlalchemy.exc.SQLAlchemyError, ValueError):
    sys.exit(f"{secret} is not the address of a database, such as postgresql+psycopg://USER@HOST:5432/mlflow.")
cli(["db", "upgrade", address])
