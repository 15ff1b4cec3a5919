"""Downloads are bounded, stay in their folder, are verified by their digest, and leave nothing half-written."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelformat.digest import content_digest
from services.serving.tests.conftest import Bundle
from serving.artifacts.base import MAX_FILES, RemoteFile, download, safe_path
from serving.artifacts.files import ModelFiles
from serving.artifacts.folder import FolderStore
from serving.errors import DigestMismatchError, ModelUnusableError, StoreUnavailableError


class HostileStore:
    """A store that lists what an honest store never would, and fails a given number of times."""

    def __init__(self, *files: RemoteFile, content: bytes = b"x", failures: int = 0) -> None:
        self.listed = files
        self.content = content
        self.failures = failures
        self.fetched = 0

    async def files(self, uri: str) -> AsyncIterator[RemoteFile]:
        for file in self.listed:
            yield file

    async def fetch(self, uri: str, path: str, target: Path, limit: int) -> None:
        self.fetched += 1
        if self.fetched <= self.failures:
            raise StoreUnavailableError("not now")
        target.write_bytes(self.content)  # noqa: ASYNC240  (a byte, in a test)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\nb", "a\x00b", "a" * 501])
def test_unsafe_paths_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError, match="unsafe name"):
        safe_path(path)
    with pytest.raises(ModelUnusableError, match="unsafe name"):
        asyncio.run(download(HostileStore(RemoteFile("ok", 1), RemoteFile(path, 1)), "", tmp_path, 100))
    assert not list(tmp_path.iterdir())


def test_too_many_files_are_refused_before_any_is_fetched(tmp_path: Path) -> None:
    store = HostileStore(*(RemoteFile(str(index), 1) for index in range(MAX_FILES + 1)))
    with pytest.raises(ModelUnusableError, match="more than 200 files"):
        asyncio.run(download(store, "", tmp_path, 10**6))
    assert store.fetched == 0


def test_files_whose_sizes_are_too_large_are_not_fetched(tmp_path: Path) -> None:
    store = HostileStore(RemoteFile("a", 60), RemoteFile("b", 60))
    with pytest.raises(ModelUnusableError, match="MAX_MODEL_BYTES"):
        asyncio.run(download(store, "", tmp_path, 100))
    assert store.fetched == 0


def test_a_file_larger_than_its_size_says_is_cut_off(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"x" * 200)
    target = tmp_path / "target"
    with pytest.raises(ModelUnusableError, match="MAX_MODEL_BYTES"):
        asyncio.run(FolderStore().fetch(source.as_uri(), "a", target, 100))
    assert target.stat().st_size <= 100


def test_a_store_that_fails_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    store = HostileStore(RemoteFile("a", 1), failures=2)
    asyncio.run(download(store, "", tmp_path, 100))
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_store_that_keeps_failing_is_given_up(tmp_path: Path) -> None:
    store = HostileStore(RemoteFile("a", 1), failures=99)
    with pytest.raises(StoreUnavailableError):
        asyncio.run(download(store, "", tmp_path, 100))
    assert store.fetched == 3


def test_an_empty_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError, match="no files"):
        asyncio.run(download(FolderStore(), (tmp_path / "nowhere").as_uri(), tmp_path, 100))


def test_links_in_folders_are_not_followed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "real").write_text("x")
    (source / "link").symlink_to("/etc/passwd")
    target = tmp_path / "target"
    target.mkdir()
    asyncio.run(download(FolderStore(), source.as_uri(), target, 10**6))
    assert [path.name for path in target.iterdir()] == ["real"]


def files(root: Path, keep: int = 4) -> ModelFiles:
    root.mkdir(exist_ok=True)
    return ModelFiles(root, {"file": FolderStore}, max_bytes=10**8, keep=keep)


def test_a_download_is_used_again_after_a_restart(iris: Bundle, tmp_path: Path) -> None:
    first = asyncio.run(files(tmp_path).get(iris.folder.as_uri(), iris.digest))
    assert first.digest == iris.digest
    again = asyncio.run(files(tmp_path).get((tmp_path / "gone").as_uri(), iris.digest))
    assert again == first


def test_a_download_that_was_changed_on_disk_is_fetched_again(iris: Bundle, tmp_path: Path) -> None:
    first = asyncio.run(files(tmp_path).get(iris.folder.as_uri(), iris.digest))
    (first.folder / "MLmodel").write_text("changed")
    again = asyncio.run(files(tmp_path).get(iris.folder.as_uri(), iris.digest))
    assert (again.folder / "MLmodel").read_bytes() == (iris.folder / "MLmodel").read_bytes()


def test_a_wrong_digest_leaves_nothing_behind(iris: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatchError, match=iris.digest.removeprefix("sha256-v2:")):
        asyncio.run(files(tmp_path).get(iris.folder.as_uri(), "sha256:" + "0" * 64))
    assert not list(tmp_path.iterdir())


def test_a_digest_of_the_old_rule_still_verifies_with_a_warning(
    iris: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = content_digest(iris.folder, "sha256")
    first = asyncio.run(files(tmp_path).get(iris.folder.as_uri(), old))
    assert first.digest == old
    (warning,) = caplog.records
    assert (warning.levelname, warning.digest) == ("WARNING", old)  # type: ignore[attr-defined]
    assert "register the model again" in warning.reason  # type: ignore[attr-defined]
    # The next lookup uses the same rule.
    assert asyncio.run(files(tmp_path).get((tmp_path / "gone").as_uri(), old)) == first
    with pytest.raises(DigestMismatchError, match=old):
        asyncio.run(files(tmp_path).get(iris.folder.as_uri(), "sha256:" + "0" * 64))


def test_a_replaced_file_is_noticed_whatever_its_name(iris: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(iris.folder, copy)
    (copy / "registered_model_meta").write_text("another model")
    with pytest.raises(DigestMismatchError, match=iris.digest):
        asyncio.run(files(tmp_path / "models").get(copy.as_uri(), iris.digest))


def test_the_partial_download_of_a_killed_process_is_removed(iris: Bundle, tmp_path: Path) -> None:
    (tmp_path / ".partial-abc").mkdir(parents=True)
    asyncio.run(files(tmp_path).get(iris.folder.as_uri(), iris.digest))
    assert [path.name for path in tmp_path.iterdir()] == [iris.digest.replace(":", "-")]


def test_a_download_of_another_process_is_left_alone(tmp_path: Path) -> None:
    """Locks belong to open files, so two objects behave like two processes."""

    class Slow(HostileStore):
        async def fetch(self, uri: str, path: str, target: Path, limit: int) -> None:
            await super().fetch(uri, path, target, limit)
            files(tmp_path)  # another process starts, and removes unused folders
            assert target.exists()  # noqa: ASYNC240  (a look, in a test)

    kept = ModelFiles(tmp_path, {"file": lambda: Slow(RemoteFile("a", 1), RemoteFile("b", 1))}, max_bytes=9, keep=2)
    found = asyncio.run(kept.get("file:///x", None))
    assert sorted(path.name for path in found.folder.iterdir()) == ["a", "b"]


def test_a_version_that_is_being_opened_is_not_removed_by_another_process(tmp_path: Path) -> None:
    ours, theirs = files(tmp_path / "models", keep=1), files(tmp_path / "models", keep=1)
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    first = asyncio.run(ours.get((tmp_path / "a").as_uri(), None))
    with ours.in_use(first):
        asyncio.run(theirs.get((tmp_path / "b").as_uri(), None))
        assert first.folder.is_dir()
    (tmp_path / "a" / "x").write_text("c")
    asyncio.run(theirs.get((tmp_path / "a").as_uri(), None))
    assert not first.folder.exists()
    with pytest.raises(StoreUnavailableError, match="gone from MODEL_DIR"), ours.in_use(first):
        pass


def test_a_digest_that_leads_out_of_the_folder_is_refused(iris: Bundle, tmp_path: Path) -> None:
    """The digest names a folder, and a folder whose content has another digest is removed."""
    (tmp_path / "precious").mkdir()
    with pytest.raises(DigestMismatchError, match="is not valid"):
        asyncio.run(files(tmp_path / "models").get(iris.folder.as_uri(), "../precious"))
    assert (tmp_path / "precious").is_dir()


def test_old_downloads_are_removed(tmp_path: Path) -> None:
    kept = files(tmp_path / "models", keep=2)
    digests = []
    for index in range(4):
        source = tmp_path / str(index)
        source.mkdir()
        (source / "a").write_text(str(index))
        digests.append(asyncio.run(kept.get(source.as_uri(), None)).digest)
    assert len(list((tmp_path / "models").iterdir())) == 2
    assert (tmp_path / "models" / digests[-1].replace(":", "-")).is_dir()


def test_a_download_that_is_used_again_is_not_removed(tmp_path: Path) -> None:
    kept = files(tmp_path / "models", keep=2)
    digests = []
    for index in range(2):
        source = tmp_path / str(index)
        source.mkdir()
        (source / "a").write_text(str(index))
        digests.append(asyncio.run(kept.get(source.as_uri(), None)).digest)
        os.utime(tmp_path / "models" / digests[-1].replace(":", "-"), (index, index))
    again = asyncio.run(kept.get((tmp_path / "gone").as_uri(), digests[0]))
    (tmp_path / "1" / "a").write_text("other")
    asyncio.run(kept.get((tmp_path / "1").as_uri(), None))
    assert again.folder.is_dir()
    assert not (tmp_path / "models" / digests[1].replace(":", "-")).exists()


@pytest.mark.parametrize("known", [True, False])
def test_two_models_can_download_the_same_files_at_once(iris: Bundle, tmp_path: Path, known: bool) -> None:
    async def both() -> None:
        kept = files(tmp_path)
        folder = tmp_path / iris.digest.replace(":", "-")
        expected = iris.digest if known else None
        first, second = (asyncio.create_task(kept.get(iris.folder.as_uri(), expected)) for _ in range(2))
        done, _ = await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
        found = folder.stat().st_ino
        assert done
        assert await first == await second
        assert folder.stat().st_ino == found

    asyncio.run(both())
    assert [path.name for path in tmp_path.iterdir()] == [iris.digest.replace(":", "-")]


def test_an_unknown_kind_of_address_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusableError, match="gs: address"):
        asyncio.run(files(tmp_path).get("gs://bucket/x", None))


def test_a_folder_that_cannot_be_written_is_reported(iris: Bundle, tmp_path: Path) -> None:
    kept = files(tmp_path / "models")
    (tmp_path / "models").rmdir()
    with pytest.raises(StoreUnavailableError, match="MODEL_DIR"):
        asyncio.run(kept.get(iris.folder.as_uri(), iris.digest))
