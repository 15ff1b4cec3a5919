"""The current settings of a model's folder, compared with those that a version was trained with."""

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

import msgspec

from training.errors import BadInputError
from training.model_folder import CODE_FILE, OF_THE_CLUSTER, TRAINING_FILE, read_content

_SHOWN = 12
_MOST_COMMITS = 5
_SECONDS = 10


def fingerprint(folder: Path) -> dict[str, str]:
    """Return a short hash of each setting in a folder's training.yaml, and of its own code.

    Comments do not count, and neither do settings that only concern the cluster.

    Raises:
        BadInputError: The file cannot be read.
    """
    content = read_content(folder / TRAINING_FILE)
    found = {
        key: _short(msgspec.json.encode(value, order="deterministic"))
        for key, value in content.items()
        if key not in OF_THE_CLUSTER
    }
    try:
        code = (folder / CODE_FILE).read_bytes()
    except FileNotFoundError:
        return found
    except OSError as error:
        raise BadInputError(f"{folder / CODE_FILE}: cannot be read ({error.strerror}).") from error
    return found | {CODE_FILE: _short(code)}


def recorded(tag: str | None) -> dict[str, str] | None:
    """Return the fingerprint in a version's tag; None if it has none."""
    try:
        return msgspec.json.decode(tag or "", type=dict[str, str])
    except msgspec.MsgspecError:
        return None


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the settings that differ; the name of the model's own code is its file's name."""
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def commits_since(folder: Path, commit: str | None) -> list[str] | None:
    """Return the commits after another one that changed a folder's settings or code, newest first: `abc1234 Subject`.

    The result is None if this is unknown: this is not a checkout, or its history does not reach back that far.
    """
    if not commit:
        return None
    command = ["git", "-C", str(folder), "log", "--format=%h %s", f"--max-count={_MOST_COMMITS + 1}"]
    try:
        asked = subprocess.run(
            [*command, "--end-of-options", f"{commit}..HEAD", "--", TRAINING_FILE, CODE_FILE],
            capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.splitlines() if asked.returncode == 0 else None


def listed(commits: list[str]) -> str:
    """Return commits in one line."""
    more = ", and more" if len(commits) > _MOST_COMMITS else ""
    return "; ".join(commits[:_MOST_COMMITS]) + more


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_SHOWN]
