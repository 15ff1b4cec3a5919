"""The content digest is the one that docs/model-format.md defines: what the shell computes, for any file names."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelformat.digest import UnusableNameError, content_digest, is_digest, rule_of

BY_HAND = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum -- | sha256sum"
BY_HAND_OLD = BY_HAND.replace("-type f", "-type f ! -path ./registered_model_meta")
names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\n\r", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
)
paths = st.lists(names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3).map("/".join)


def by_hand(folder: Path, line: str) -> str:
    return subprocess.check_output(["bash", "-c", line], cwd=folder, text=True).split()[0]


def test_the_documented_line_is_the_one_tested_here() -> None:
    document = (Path(__file__).parents[3] / "docs" / "model-format.md").read_text()
    assert f"\n{BY_HAND}\n" in document


@pytest.mark.slow
@settings(max_examples=30)
@given(st.dictionaries(paths, st.binary(max_size=50), min_size=1, max_size=5), st.booleans())
def test_it_is_what_the_shell_computes(files: dict[str, bytes], downloaded: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, content in files.items():
            target = folder / path
            if any(parent.is_file() for parent in target.parents) or target.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if downloaded and not (folder / "registered_model_meta").exists():
            (folder / "registered_model_meta").write_text("model_name: x")
        assert content_digest(folder) == "sha256-v2:" + by_hand(folder, BY_HAND)
        assert content_digest(folder, "sha256") == "sha256:" + by_hand(folder, BY_HAND_OLD)


def test_only_the_current_rule_covers_every_file(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {onnx: {data: registered_model_meta}}")
    (tmp_path / "registered_model_meta").write_text("one model")
    new, old = content_digest(tmp_path), content_digest(tmp_path, "sha256")
    (tmp_path / "registered_model_meta").write_text("another model")
    assert content_digest(tmp_path) != new
    assert content_digest(tmp_path, "sha256") == old


def test_a_changed_byte_or_name_changes_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = content_digest(tmp_path)
    (tmp_path / "a").write_text("2")
    second = content_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, content_digest(tmp_path)}) == 3


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\rb", "\x7f"])
def test_ambiguous_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(UnusableNameError, match="control character"):
        content_digest(tmp_path)


def test_the_digest_names_its_rule() -> None:
    old, new = "sha256:" + "0" * 64, "sha256-v2:" + "0" * 64
    assert (rule_of(old), rule_of(new)) == ("sha256", "sha256-v2")
    assert is_digest(old)
    assert is_digest(new)
    assert not any(is_digest(text) for text in ("", "sha256-v3:" + "0" * 64, old[:-1], f"{old}0", f"{old}\n"))
