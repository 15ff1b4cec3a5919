"""Create the users of MLflow's basic-auth app from their Secrets, each with only the rights of its role.

If a Secret has a new password, the old one stops working.
"""

import os

from mlflow.server.auth.permissions import DENY, EDIT, MANAGE, READ
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

ADMIN = "admin"
WORKSPACE = "default"
# What every user may create unless it is denied. That includes experiments, whose files could be anywhere in the store.
CREATED = (
    "experiment",
    "registered_model",
    "prompt",
    "scorer",
    "mcp_server",
    "gateway_endpoint",
    "gateway_model_definition",
    "gateway_secret",
)
RIGHTS = {
    # A failed registration deletes the version that it began.
    "training": {"experiment": EDIT, "registered_model": EDIT, "registered_model_version": MANAGE},
    # Runs hold the metrics that a release shows. The right to read them includes the right to create experiments.
    "gitops": {"experiment": READ, "registered_model": READ},
    "serving": {"registered_model": READ},
    # MLflow requires the right to edit the model for setting an alias. Versions cannot be changed.
    "smoke": {"registered_model": EDIT, "registered_model_version": READ},
}


def ensure_user(store, name, password, *, admin):
    """Create the user, or set its password to that of its Secret."""
    if not store.has_user(name):
        store.create_user(name, password, is_admin=admin)
        print(f"User {name} exists now.")
        return
    if store.get_user(name).is_admin != admin:
        store.update_user(name, is_admin=admin)
    if not store.authenticate_user(name, password):
        store.update_user(name, password=password)
        print(f"User {name} has a new password.")


def ensure_role(store, role, name):
    """Assign the role to the user, with exactly the rights of `RIGHTS`."""
    title = f"ml-pipeline-{role}"
    found = {entry.name: entry for entry in store.list_roles([WORKSPACE])}
    entry = found.get(title) or store.create_role(title, WORKSPACE)
    wanted = {kind: right.name for kind, right in (dict.fromkeys(CREATED, DENY) | RIGHTS[role]).items()}
    for right in store.list_role_permissions(entry.id):
        if right.resource_pattern != "*" or wanted.get(right.resource_type) != right.permission:
            store.remove_role_permission(right.id)
        else:
            del wanted[right.resource_type]
    for kind, right in wanted.items():
        store.add_role_permission(entry.id, kind, "*", right)
    user = store.get_user(name).id
    if entry.id not in {mine.id for mine in store.list_user_roles(user)}:
        store.assign_role_to_user(user, entry.id)


store = SqlAlchemyStore()
store.init_db(os.environ["MLFLOW_BACKEND_STORE_URI"])
for role in os.environ["ROLES"].split(","):
    user = os.environ[f"{role.upper()}_USERNAME"]
    ensure_user(store, user, os.environ[f"{role.upper()}_PASSWORD"], admin=role == ADMIN)
    if role != ADMIN:
        ensure_role(store, role, user)
