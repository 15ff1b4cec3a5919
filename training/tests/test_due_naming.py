"""Which folder a name means to `training due`, and that mistakes of other models do not matter."""

from pathlib import Path

import pytest

from training.due.naming import folder_of
from training.errors import BadInputError

# By folder: a file, what is wrong with it, and the sentence about it.
BROKEN = {
    "unread": ("training.yaml", "name: [", "not valid YAML"),
    "setting": ("training.yaml", "data: iris\nname: other-setting\nsed: 1\n", "unknown field `sed`"),
    "list": ("training.yaml", "- name", "it holds a list"),
    "purpose": ("README.md", " ", "missing or empty"),
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models, with one that has no mistakes."""
    add(tmp_path / "models", "points", "blobs")
    return tmp_path / "models"


def add(models: Path, folder: str, name: str) -> Path:
    made = models / folder
    made.mkdir(parents=True)
    (made / "README.md").write_text("What it is for.")
    (made / "training.yaml").write_text(f"data: iris\nname: {name}\n")
    return made


def add_broken(models: Path, folder: str) -> None:
    path, content, _ = BROKEN[folder]
    (add(models, folder, f"other-{folder}") / path).write_text(content)


def named(name: str, models: Path) -> tuple[Path, list[str]]:
    """Return the folder that is found, and the remarks."""
    notes: list[str] = []
    return folder_of(name, models, models.parent / "platform.yaml", notes.append), notes


@pytest.mark.parametrize("name", ["points", "blobs", "sorting"])
def test_mistakes_of_other_models_are_only_reported(models: Path, name: str) -> None:
    (models.parent / "platform.yaml").write_text("services: [{name: sorting, model: blobs}]\n")
    for folder in BROKEN:
        add_broken(models, folder)
    found, notes = named(name, models)
    assert found == models / "points"
    assert len(notes) == len(BROKEN)
    for folder, (path, _, sentence) in BROKEN.items():
        assert any(f"{models / folder / path}: " in note and sentence in note for note in notes)


def test_an_invalid_platform_is_only_reported(models: Path) -> None:
    (models.parent / "platform.yaml").write_text("services: [")
    found, (note,) = named("blobs", models)
    assert found == models / "points"
    assert "platform.yaml: not valid YAML" in note


@pytest.mark.parametrize(
    ("name", "folder"),
    [*((folder, folder) for folder in BROKEN), ("other-setting", "setting"), ("other-purpose", "purpose")],
)
def test_mistakes_of_the_model_itself_are_refused(models: Path, name: str, folder: str) -> None:
    add_broken(models, folder)
    with pytest.raises(BadInputError) as refused:
        named(name, models)
    path, _, sentence = BROKEN[folder]
    assert str(refused.value).startswith(f"{models / folder / path}: ")
    assert sentence in str(refused.value)


def test_a_name_that_several_folders_register_stops_only_these(models: Path) -> None:
    for folder in ("a", "b"):
        add(models, folder, "twice")
    sentence = f"{models / 'a'}, {models / 'b'}: all register 'twice'; give each its own `name`."
    assert named("blobs", models) == (models / "points", [sentence])
    for name in ("a", "twice"):
        with pytest.raises(BadInputError) as refused:
            named(name, models)
        assert str(refused.value) == sentence


def test_an_unknown_name_may_be_in_a_file_that_cannot_be_read(models: Path) -> None:
    add_broken(models, "unread")
    with pytest.raises(BadInputError, match=r"The registered name in \S*/unread cannot be read\."):
        named("else", models)
