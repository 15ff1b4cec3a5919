"""The images that `tools/push-images` pushed."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

_ROOT = Path(__file__).resolve().parents[2]


class Image(msgspec.Struct, frozen=True):
    """A pushed image."""

    repository: str
    tag: str
    digest: str

    @property
    def reference(self) -> str:
        """Return `repository@digest`."""
        return f"{self.repository}@{self.digest}"

    @property
    def pin(self) -> str:
        """Return `repository:tag@digest`, as `gitops bump` accepts it."""
        return f"{self.repository}:{self.tag}@{self.digest}"

    @property
    def values(self) -> dict[str, Any]:
        """Return the charts' `image` value."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]  # a Struct becomes a dict


class Images(msgspec.Struct, frozen=True, rename="kebab"):
    """The pushed images, by name."""

    serving: Image
    training: Image
    mlflow: Image
    gitops: Image | None = None
    haproxy: Image | None = None
    """Replaces the image of HAProxy in front of MinIO. Without it, the chart's own image is pulled."""
    prometheus: Image | None = None
    """Prometheus and Pushgateway, for a cluster that cannot have the stack."""
    serving_batch: Image | None = None
    """The variant of serving that answers files."""
    serving_slow: Image | None = None
    """Serving with a fault (`faulty/`): it answers late."""
    serving_failing: Image | None = None
    """Serving with a fault: it fails some requests."""


def remember_serving(root: Path, image: Image) -> None:
    """Make a checkout's own commands use this image of serving instead of the last pushed one."""
    file = _file(root)
    file.write_text(json.dumps({**json.loads(file.read_text()), "serving": image.values}))


def pushed_images(root: Path = _ROOT) -> Images:
    """Read the last pushed images of a checkout. End the run if there are none."""
    file = _file(root)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Images)
    except FileNotFoundError:
        pytest.exit(
            f"{file} is missing: `make images` builds the images, `tools/push-images` pushes them.", returncode=2
        )


def _file(root: Path) -> Path:
    return root / ".cache" / "images.json"
