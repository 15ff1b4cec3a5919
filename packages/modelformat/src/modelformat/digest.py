"""The content digest of a model's folder (docs/model-format.md), and the rules to compute it."""

import hashlib
import re
from pathlib import Path
from typing import Literal

Rule = Literal["sha256", "sha256-v2"]

# The rule for new digests.
CURRENT: Rule = "sha256-v2"
# The old rule ignores this file, because MLflow adds it when it downloads a registered model.
ADDED_BY_DOWNLOAD = "registered_model_meta"
PATTERN = r"sha256(-v2)?:[0-9a-f]{64}"
OLD_RULE = (
    f"its digest uses the old sha256: rule, which does not cover a file {ADDED_BY_DOWNLOAD}; register the model again, "
    "so that its digest covers every file"
)

_DIGEST = re.compile(PATTERN)


class UnusableNameError(ValueError):
    """A file's name has a backslash or a control character, which would make its line in the digest ambiguous."""


def is_digest(text: str) -> bool:
    """Return whether a text is a digest of a known rule."""
    return _DIGEST.fullmatch(text) is not None


def rule_of(digest: str) -> Rule:
    """Return the rule that a digest was computed by."""
    return "sha256" if digest.startswith("sha256:") else "sha256-v2"


def content_digest(folder: Path, rule: Rule = CURRENT) -> str:
    """Return the digest of all files in a folder and their names: the rule, a colon and 64 hexadecimal digits.

    Raises:
        OSError: A file cannot be read.
        UnusableNameError: The current rule refuses a file's name.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    if rule == "sha256":
        files.pop(ADDED_BY_DOWNLOAD, None)
    else:
        _refuse_odd(files)
    lines = hashlib.sha256()
    for name in sorted(files, key=str.encode):
        with files[name].open("rb") as file:
            lines.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n".encode())
    return f"{rule}:{lines.hexdigest()}"


def _refuse_odd(names: dict[str, Path]) -> None:
    for name in names:
        if "\\" in name or any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
            raise UnusableNameError(f"the file name {name!r} holds a backslash or a control character")
