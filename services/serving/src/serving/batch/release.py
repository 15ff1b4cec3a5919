"""The pins of an environment as settings of the server, as its chart would set them from the same files."""

from pathlib import Path
from typing import Any

import yaml

from serving.environment import SettingsError

# The values of the chart that decide which model computes, and how, with the names of the settings.
_PINS = {
    "name": "MODEL_NAME",
    "version": "MODEL_VERSION",
    "digest": "MODEL_DIGEST",
    "uri": "MODEL_URI",
    "release": "MODEL_RELEASE",
}
_HOW = {"runtime": "RUNTIME", "pickleModels": "PICKLE_MODELS", "skopsTrustedTypes": "SKOPS_TRUSTED_TYPES"}
_VALUES = "values.yaml"


def release_settings(path: Path) -> dict[str, str]:
    """Read a release.yaml, and the settings for models from the values files next to it and above it.

    Args:
        path: `envs/ENV/SERVICE/release.yaml`.

    Raises:
        SettingsError: if one of the files cannot be read, or it pins no version.
    """
    path = path.absolute()
    release = _document(path, needed=True)
    model = release.get("model")
    pins = {setting: str(model.get(name) or "") for name, setting in _PINS.items()} if isinstance(model, dict) else {}
    if not pins.get("MODEL_VERSION") or not pins.get("MODEL_DIGEST"):
        raise SettingsError(
            f"{path}: model.version and model.digest are not both set, so it pins nothing; `gitops bump` writes them"
        )
    how: dict[str, str] = {}
    service = path.parent
    above = [folder / _VALUES for folder in (service.parent.parent, service.parent, service)]
    for document in (*map(_document, above), release):
        found = document.get("settings")
        told: dict[str, Any] = found if isinstance(found, dict) else {}
        for name, setting in _HOW.items():
            if name in told:
                value = told[name]
                how[setting] = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return {name: value for name, value in (pins | how).items() if value}


def _document(path: Path, *, needed: bool = False) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not needed:
            return {}
        raise SettingsError(
            f"{path}: there is no such file; `gitops status` shows which services have a release where"
        ) from None
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: expected a map of values")
    return document
