"""Proves that options win over files and files over defaults, and that wrong settings are named in one sentence."""

from pathlib import Path

import pytest

from training.errors import BadInputError
from training.settings import GateSettings, Settings, assignments, load_settings

TOML = """
data = "wine"
seed = 7
[params]
C = 0.5
[gate.thresholds]
accuracy = 0.9
[[gate.directional]]
feature = "alcohol"
step = 1
class = "class_0"
"""


def config(folder: Path, content: str, name: str = "config.toml") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def test_defaults_file_and_options_stack(tmp_path: Path) -> None:
    found = load_settings({"seed": 9, "gate": {"thresholds": {"f1_macro": 0.8}}}, config(tmp_path, TOML))
    assert (found.data, found.seed, found.params, found.cv) == ("wine", 9, {"C": 0.5}, 5)
    assert found.gate.thresholds == {"accuracy": 0.9, "f1_macro": 0.8}
    assert found.gate.directional[0].label == "class_0"


def test_yaml_says_the_same_as_toml(tmp_path: Path) -> None:
    yaml = "data: wine\nseed: 7\nparams: {C: 0.5}\ngate:\n  thresholds: {accuracy: 0.9}\n"
    yaml += "  directional: [{feature: alcohol, step: 1, class: class_0}]\n"
    assert load_settings({}, config(tmp_path, yaml, "c.yaml")) == load_settings({}, config(tmp_path, TOML))


def test_nothing_given_is_iris() -> None:
    assert load_settings({}) == Settings(data="iris", gate=GateSettings())


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load_settings({}, config(tmp_path, "", "empty.yaml")) == Settings()


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        ("seed = 'x'", "c.toml", "seed: Expected `int`, got `str`"),
        ("sed = 1", "c.toml", "unknown field `sed`"),
        ("seed = ", "c.toml", "not valid TOML"),
        ("[gate]\nlatency_ms = 0", "c.toml", "gate.latency_ms"),
        ("[gate]\nlatency = 1", "c.toml", "unknown field `latency`"),
        ("[[gate.directional]]\nfeature = 'a'\nstep = -1", "c.toml", "gate.directional[0].step"),
        ("test_size: 1.0", "c.yml", "test_size: Expected `float` < 1.0"),
        ("cv = 1", "c.toml", "cv: one fold"),
        ("name = 'a/b'", "c.toml", "name: Expected `str` matching regex"),
        ("- 1", "c.yaml", "holds a table of settings"),
        ("{", "c.yaml", "not valid YAML"),
        ("", "c.json", "ends in .toml, .yaml or .yml"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str, name: str, says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        load_settings({}, config(tmp_path, content, name))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        load_settings({}, tmp_path / "none.toml")


def test_assignments_read_numbers_and_words() -> None:
    pairs = ["C=0.5", "max_iter=10", "class_weight=balanced", "warm_start=true", "max_depth=null", "x=a=b"]
    assert assignments("param", pairs) == {
        "C": 0.5,
        "max_iter": 10,
        "class_weight": "balanced",
        "warm_start": True,
        "max_depth": None,
        "x": "a=b",
    }


@pytest.mark.parametrize(("pairs", "says"), [(["C"], "not of the form"), (["=1"], "not of"), (["C=1", "C=2"], "twice")])
def test_wrong_assignments_are_refused(pairs: list[str], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        assignments("param", pairs)
