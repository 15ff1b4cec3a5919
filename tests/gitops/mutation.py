"""Change the stack as the fixtures under rejected/ say.

A fixture names the rule that must reject it, and the changes, each by name: `application`, `project` and `objects` hold
JSON merge patches (RFC 7396), `add` and `remove` manifests of an application, `secrets` the keys of a Secret that
bootstrap makes, and `released` whether there has been a release.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from gitops.platform.model import HERE
from tests.gitops.stack import App, Stack
from tests.support.manifests import Manifest, name_of

KEYS = frozenset({"rule", "application", "project", "objects", "add", "remove", "secrets", "released"})


def mutated(stack: Stack, fixture: dict[str, Any]) -> Stack:
    """Return a changed copy. Raise ValueError or KeyError if the fixture names something that does not exist."""
    if unknown := set(fixture) - KEYS:
        raise ValueError(f"a fixture has no {', '.join(sorted(unknown))}")
    for part in ("application", "objects", "add", "remove"):
        for name in fixture.get(part, {}):
            stack.app(name)
    projects = {**stack.projects}
    for name, patch in fixture.get("project", {}).items():
        projects[name] = merged(projects[name], patch)
    secrets = {(HERE, *name.split("/")): frozenset(keys) for name, keys in fixture.get("secrets", {}).items()}
    return replace(
        stack,
        apps=tuple(_app(app, fixture) for app in stack.apps),
        projects=projects,
        secrets={**stack.secrets, **secrets},
        released=fixture.get("released", stack.released),
    )


def merged(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch: null removes a key, and a list replaces a list."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    base = target if isinstance(target, dict) else {}
    kept = {key: value for key, value in base.items() if key not in patch}
    return {**kept, **{key: merged(base.get(key), value) for key, value in patch.items() if value is not None}}


def _app(app: App, fixture: dict[str, Any]) -> App:
    manifest = merged(app.manifest, fixture.get("application", {}).get(app.name, {}))
    patches = fixture.get("objects", {}).get(app.name, {})
    removed = fixture.get("remove", {}).get(app.name, [])
    names = {name_of(each) for each in app.rendered}
    if missing := {*patches, *removed} - names:
        raise KeyError(f"{app.name} has no {', '.join(sorted(missing))}; it has {', '.join(sorted(names))}")
    objects: list[Manifest] = [
        merged(each, patches.get(name_of(each), {})) for each in app.rendered if name_of(each) not in removed
    ]
    objects += fixture.get("add", {}).get(app.name, [])
    return replace(app, manifest=manifest, objects=None if app.objects is None else tuple(objects))
