"""The content digest of a model folder, as docs/model-format.md defines it."""

import hashlib
from pathlib import Path

# MLflow adds this file to what it downloads by a registered name, so it is no part of the content.
_ADDED_BY_DOWNLOAD = "registered_model_meta"


def folder_digest(folder: Path) -> str:
    """`sha256:` and 64 hexadecimal digits over every file's path and content."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = sorted(path.relative_to(folder).as_posix().encode() for path in files)
    lines = hashlib.sha256()
    for name in names:
        if name != _ADDED_BY_DOWNLOAD.encode():
            content = (folder / name.decode()).read_bytes()
            lines.update(hashlib.sha256(content).hexdigest().encode() + b"  " + name + b"\n")
    return f"sha256:{lines.hexdigest()}"
