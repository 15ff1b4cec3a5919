"""Brings the database to this MLflow's schema.

`mlflow db upgrade` takes the address as an argument only, where any process list would show it. Without a connection it
would also go on trying for minutes and name no cause; here the Job tries again by itself.
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
    # Everything before :// says which database it is and which driver asks it; nothing of it is secret.
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
