"""Makes the users of MLflow's basic-auth app as their Secrets say, each with the rights of its role and no others.

A password that a Secret no longer has opens nothing from then on.
"""

import os

from mlflow.server.auth.permissions import DENY, EDIT, MANAGE, READ
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

ADMIN = "admin"
WORKSPACE = "default"
# What anybody may create unless it is denied to them: an experiment too, whose files could be anywhere in the store.
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
    # It takes a version back whose registration did not come to its end.
    "training": {"experiment": EDIT, "registered_model": EDIT, "registered_model_version": MANAGE},
    # Runs hold the figures that a release tells of, and who reads them may make experiments too.
    "gitops": {"experiment": READ, "registered_model": READ},
    "serving": {"registered_model": READ},
    # To set an alias is to edit the model; its versions stay as they are.
    "smoke": {"registered_model": EDIT, "registered_model_version": READ},
}


def ensure_user(store, name, password, *, admin):
    """Make the user, or give it the password that its Secret holds now."""
    if not store.has_user(name):
        store.create_user(name, password, is_admin=admin)
        print(f"User {name} is made.")
        return
    if store.get_user(name).is_admin != admin:
        store.update_user(name, is_admin=admin)
    if not store.authenticate_user(name, password):
        store.update_user(name, password=password)
        print(f"User {name} has a new password.")


def ensure_role(store, role, name):
    """Give the user the role, and the role what `RIGHTS` says."""
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
