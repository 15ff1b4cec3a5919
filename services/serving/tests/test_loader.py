"""The Model Loader returns only models that have answered: faults show before any request is served."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelformat.digest import content_digest
from services.serving.tests.bundles import SETOSA, write_bundle
from services.serving.tests.conftest import Bundle
from serving.artifacts.files import ModelFiles
from serving.artifacts.folder import FolderStore
from serving.errors import DigestMismatchError, ModelUnusableError
from serving.loader import LoadedModel, ModelLoader, ModelSource
from serving.runtimes.base import Runtime, RuntimeOptions, open_runtime


def load(folder: Path, root: Path, digest: str | None = None) -> LoadedModel:
    files = ModelFiles(root, {"file": FolderStore}, max_bytes=10**8, keep=2)
    loader = ModelLoader(files, RuntimeOptions())
    return asyncio.run(loader.load(ModelSource("m", "3", folder.as_uri(), digest, "v1.0.0")))


def test_a_loaded_model_knows_its_origin(iris: Bundle, tmp_path: Path) -> None:
    model = load(iris.folder, tmp_path)
    assert (model.name, model.version, model.release, model.digest) == ("m", "3", "v1.0.0", iris.digest)
    assert list(model.example) == SETOSA
    assert model.pace.inline_rows >= 1


def test_a_model_without_an_example_is_warmed_up_too(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", example=False)
    (tmp_path / "models").mkdir()
    assert list(load(tmp_path / "bundle", tmp_path / "models").example) == [0.0] * 4


def test_nothing_is_parsed_before_the_digest_is_right(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "MLmodel").write_text("broken: [")
    (tmp_path / "models").mkdir()
    with pytest.raises(DigestMismatchError):
        load(tmp_path / "bundle", tmp_path / "models", "sha256:" + "0" * 64)
    with pytest.raises(ModelUnusableError, match="MLmodel"):
        load(tmp_path / "bundle", tmp_path / "models", content_digest(tmp_path / "bundle"))


@pytest.mark.slow
def test_models_that_load_at_once_are_opened_one_by_one(
    iris: Bundle, diabetes: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that decode the first MLmodel files of a process at the same time crash it now and then."""
    opening, most = 0, 0

    def opened(*arguments: Any) -> Runtime:
        nonlocal opening, most
        opening += 1
        most = max(most, opening)
        time.sleep(0.05)
        runtime = open_runtime(*arguments)
        opening -= 1
        return runtime

    monkeypatch.setattr("serving.opening.open_runtime", opened)

    async def together() -> list[LoadedModel]:
        files = ModelFiles(tmp_path, {"file": FolderStore}, max_bytes=10**8, keep=4)
        loader = ModelLoader(files, RuntimeOptions())
        sources = [ModelSource(name, "1", bundle.folder.as_uri()) for name in "ab" for bundle in (iris, diabetes)]
        return await asyncio.gather(*map(loader.load, sources))

    assert [model.spec.task for model in asyncio.run(together())] == ["classification", "regression"] * 2
    assert most == 1


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c", "d"]])
def test_another_number_of_classes_than_promised_is_refused(tmp_path: Path, classes: list[str]) -> None:
    write_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "MLmodel"
    document = yaml.safe_load(path.read_text())
    document["metadata"]["classes"] = classes
    path.write_text(yaml.safe_dump(document))
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelUnusableError, match="warm-up prediction has shape"):
        load(tmp_path / "bundle", tmp_path / "models")


def test_a_row_of_another_length_than_promised_is_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    path = tmp_path / "bundle" / "MLmodel"
    document = yaml.safe_load(path.read_text())
    document["signature"]["inputs"] = '[{"type": "double", "name": "only one"}]'
    path.write_text(yaml.safe_dump(document))
    (tmp_path / "models").mkdir()
    with pytest.raises(ModelUnusableError, match="its signature has 1 column, but its ONNX graph takes 4"):
        load(tmp_path / "bundle", tmp_path / "models")
