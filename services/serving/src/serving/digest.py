"""The content digest of a model version: SHA-256 over the sorted `sha256sum` lines of its files."""

import hashlib
from pathlib import Path

# MLflow adds this file to what it downloads; it is not part of what was registered.
_LEFT_OUT = "registered_model_meta"


def content_digest(folder: Path) -> str:
    """Computes the digest of a folder as docs/model-format.md defines it: `sha256:` and 64 hexadecimal digits."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files.pop(_LEFT_OUT, None)
    lines = hashlib.sha256()
    for name in sorted(files, key=str.encode):
        with files[name].open("rb") as file:
            lines.update(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n".encode())
    return f"sha256:{lines.hexdigest()}"
