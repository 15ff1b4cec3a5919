"""Start the server at which people sign in. Without arguments, only create its tables, as the migration does.

Some of its tables have the same names as tables of MLflow's own users, so they get a separate schema in the database.
"""

import importlib.util
import os
import sys

import sqlalchemy

SCHEMA = "sign_in"
address = sqlalchemy.make_url(os.environ["MLFLOW_BACKEND_STORE_URI"])
if address.get_backend_name() != "postgresql":
    sys.exit(
        f"signIn keeps its tables in a schema of PostgreSQL, and the database is {address.get_backend_name()}: "
        "leave signIn.enabled false, or move the database."
    )
if importlib.util.find_spec("mlflow_oidc_auth") is None:
    sys.exit(
        "signIn needs the plugin mlflow-oidc-auth, which this image does not have: it takes Python 3.12 or newer. "
        "Use an image that has it, or leave signIn.enabled false."
    )
options = f"{address.query.get('options', '')} -csearch_path={SCHEMA}".strip()
own = address.update_query_dict({"options": options})
os.environ["OIDC_USERS_DB_URI"] = own.render_as_string(hide_password=False)
if len(sys.argv) > 1:
    os.execvp("mlflow", ["mlflow", *sys.argv[1:]])  # noqa: S606  the image's own command
with sqlalchemy.create_engine(address).begin() as connection:
    connection.execute(sqlalchemy.schema.CreateSchema(SCHEMA, if_not_exists=True))
from mlflow_oidc_auth.store import store as people  # noqa: E402  it reads the variable that is set above

people.list_usernames()  # the first query creates the tables
print("The tables for the sign-in of people exist.")
