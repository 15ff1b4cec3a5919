"""The content digest is the one that docs/model-format.md defines: what the shell computes, for any file names."""

import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.digest import content_digest

BY_HAND = (
    "find . -type f ! -path ./registered_model_meta -printf '%P\\n' | LC_ALL=C sort "
    "| xargs -d '\\n' sha256sum -- | sha256sum | cut -d' ' -f1"
)
names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\n\r", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
)
paths = st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


def by_hand(folder: Path) -> str:
    return "sha256:" + subprocess.check_output(["bash", "-c", BY_HAND], cwd=folder, text=True).strip()


@settings(max_examples=30)
@given(st.dictionaries(paths, st.binary(max_size=50), min_size=1, max_size=5))
def test_it_is_what_the_shell_computes(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in files.items():
            target = folder / path
            if any(parent.is_file() for parent in target.parents) or target.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        assert content_digest(folder) == by_hand(folder)


def test_what_mlflow_adds_to_downloads_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("a")
    before = content_digest(tmp_path)
    (tmp_path / "registered_model_meta").write_text("model_name: x")
    assert content_digest(tmp_path) == before
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "registered_model_meta").write_text("only the one at the top is MLflow's")
    assert content_digest(tmp_path) != before


def test_a_changed_byte_or_name_changes_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = content_digest(tmp_path)
    (tmp_path / "a").write_text("2")
    second = content_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, content_digest(tmp_path)}) == 3
