"""The layout before version 0.2: its content, and which of its files are upstream's without changes."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.platform.model import PLACEHOLDER, Platform, Registry
from gitops.platform.targets import ENVS, PINS, PLATFORM, TUNING

IDENTITY = Path("argocd/identity.yaml")
# Objects of the one service had the name LEGACY-ENVIRONMENT.
LEGACY = "serving"
VENDORED = Path("argocd/install/vendored.yaml")
# Upstream's files that no longer exist, with the SHA-256 of their content in a fork that was not adopted.
FILES: Mapping[str, str] = {
    "apps/argocd.yaml": "bf32b682f8f90e790cf8bb9e1603be0d5132d55765cf476407b161320e0ee865",
    "apps/minio.yaml": "2e5410bd1d27f1d5d070417f066794bb1d7393549036819ae1db0e66063c13aa",
    "apps/mlflow.yaml": "887e2d9b2c7f3f04c27d39aefed3535c35217e2fd81d466d493a9a56d43e8525",
    "apps/monitoring.yaml": "6a6802c36d9f259a90d425c6d640d833a2d323e32284990410f176d9a3725dc0",
    "apps/observability.yaml": "7f8c15c9c2be787507110863c94b1df29ccefc36f3d62dca5815d36e8c3d6aac",
    "apps/postgres.yaml": "cd9d6e1438fd35581edac4fe76b8118794509a5eb3cc13722d6b48151334887d",
    "apps/serving.yaml": "c8673162e866d22f027d410db90945c61a983969176d7182304f2a929f41fb38",
    "apps/training.yaml": "dd2b93fd7574137911c880954b0a04f7e520969d2bf23cddaa73fdb05388b213",
    "argocd/install/argocd-cm.yaml": "945db7dbebde3e323b7a9956872c63a63f117dd204b3fae61cafceabc7ddc7c5",
    "argocd/install/argocd-cmd-params-cm.yaml": "3cfc11566a51ccae7676dedeed948dd56d2f32dbcfafddef61d1f22df17470cc",
    "argocd/install/argocd-notifications-cm.yaml": "0d856e9a91efa1b1161c83e8d81f019a6b4d57179d0e1b9931c22f9f0118a56e",
    "argocd/install/argocd-rbac-cm.yaml": "9ab4580462fc9514946c9b1903d3adb3619e6e660138b2bc2fd32eb918baed08",
    "argocd/install/resources.yaml": "4a15633b7f98c6396d9c59de8dd4a306259c7d65b1da4d056a2f13eb015bd5c6",
    "argocd/projects/argocd.yaml": "98b9542d40e32614812da06d1ab14be250008db46e6b0fb4e74df22fadc4dd6a",
    "argocd/projects/default.yaml": "98c4d06dcfd052572673479c0d891601bc6f34b6483cbc6a61eddc1b58d8aa9f",
    "argocd/projects/platform.yaml": "ffde1c0d5c80cadc97e8ef143d6218f26f8b4dd40f19454b6e0c23943d707af2",
    "argocd/projects/serving.yaml": "1f2d831b3ed69e26f8982e3565cba6180d744d0d2bd379ad7a934cf0d829f91c",
}


class Identity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The addresses of the fork in argocd/identity.yaml."""

    repository: str
    registry: str
    plain_http: bool = False
    adopted: bool = True


def load_identity(root: Path) -> Identity:
    """Read argocd/identity.yaml.

    Raises:
        BadInputError: It is missing or invalid.
    """
    try:
        return msgspec.convert(loaded((root / IDENTITY).read_text(encoding="utf-8")), Identity)
    except FileNotFoundError:
        raise BadInputError(f"{IDENTITY} is missing, so there is no earlier layout here to migrate.") from None
    except (OSError, UnicodeDecodeError, YAMLError, msgspec.ValidationError) as error:
        raise BadInputError(f"{IDENTITY} cannot be used: {error}.") from None


def old_environments(root: Path) -> list[str]:
    """Return the environments of the old layout: folders of envs/ with pins or tuning, production last."""
    folders = [path for path in (root / ENVS).glob("*/") if path.name != PLATFORM]
    names = [path.name for path in folders if (path / PINS).is_file() or (path / TUNING).is_file()]
    return sorted(names, key=lambda name: (name == "production", name))


def without_mentions(text: str, identity: Identity) -> str:
    """Return a text with upstream's placeholders instead of the addresses of this fork."""
    here = Platform(
        repository=identity.repository, registry=Registry(prefix=identity.registry), environments=[], services=[]
    )
    host, ssh = here.host.partition(":")[0], "git@github.com:OWNER/NAME.git"
    addresses = {
        identity.repository: f"https://github.com/{PLACEHOLDER}.git",
        f"git@{host}:{here.slug}.git": ssh,
        here.web: f"https://github.com/{PLACEHOLDER}",
        identity.registry: f"ghcr.io/{PLACEHOLDER}",
        # The target of notifications. Only this path is replaced, because OWNER/NAME alone may be the beginning of
        # another name.
        f"/repos/{here.slug}/dispatches": f"/repos/{PLACEHOLDER}/dispatches",
    }
    known = sorted(addresses, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, known))})(?![\w-])(?!\.(?!git\b)\w)")
    return pattern.sub(lambda match: addresses[match[0]], text)


def untouched(path: Path, text: str, identity: Identity) -> bool:
    """Whether a file is upstream's, except for the addresses that adopting wrote."""
    return hashlib.sha256(without_mentions(text, identity).encode()).hexdigest() == FILES.get(str(path))


# Upstream's content of envs/platform/training.yaml, which is now in models/iris/training.yaml.
TRAINING: Mapping[str, Any] = {
    "config": {"data": "iris", "gate": {"thresholds": {"accuracy": 0.9}}},
    "suspend": True,
    "schedule": "0 3 * * 1",
    "resources": {"requests": {"cpu": "100m", "memory": "384Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
}
