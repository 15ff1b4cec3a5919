"""The images that `tools/push-images` pushed."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

_ROOT = Path(__file__).resolve().parents[2]


class Image(msgspec.Struct, frozen=True):
    """An image that was pushed."""

    repository: str
    tag: str
    digest: str

    @property
    def reference(self) -> str:
        """`repository@digest`."""
        return f"{self.repository}@{self.digest}"

    @property
    def pin(self) -> str:
        """`repository:tag@digest`, as `gitops bump` takes it."""
        return f"{self.repository}:{self.tag}@{self.digest}"

    @property
    def values(self) -> dict[str, Any]:
        """The charts' `image` value."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]  # a Struct becomes a dict


class Images(msgspec.Struct, frozen=True, rename="kebab"):
    """What was pushed, by name."""

    serving: Image
    training: Image
    mlflow: Image
    gitops: Image | None = None
    haproxy: Image | None = None
    """What stands in for MinIO's guard; without it the chart's own image is pulled."""
    prometheus: Image | None = None
    """What watches services, on a cluster that cannot have the stack."""
    serving_batch: Image | None = None
    """The variant of serving that answers files."""
    serving_slow: Image | None = None
    """Serving with a fault (`faulty/`): it answers late."""
    serving_failing: Image | None = None
    """Serving with a fault: it fails some requests."""


def remember_serving(root: Path, image: Image) -> None:
    """Have a checkout's own commands take an image of serving, delivered some other way, for the one pushed last."""
    file = _file(root)
    file.write_text(json.dumps({**json.loads(file.read_text()), "serving": image.values}))


def pushed_images(root: Path = _ROOT) -> Images:
    """Read what was pushed last from a checkout; the run ends where nothing was."""
    file = _file(root)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Images)
    except FileNotFoundError:
        pytest.exit(
            f"{file} is missing: `make images` builds the images, `tools/push-images` pushes them.", returncode=2
        )


def _file(root: Path) -> Path:
    return root / ".cache" / "images.json"
