"""Proves that a model's folder gives the settings of a run, by YAML 1.2, and that each mistake in it is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from training.cron import refuse_wrong
from training.errors import BadInputError
from training.model_folder import list_folders, load_settings, read_model_file
from training.schema import model_file_schema
from training.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "models").glob("*/training.yaml")), *sorted((ROOT / "training/examples").glob("*/*.yaml"))]
SCHEMA = ROOT / "training" / "training.schema.json"

FULL = """
data: wine
name: cellar
seed: 7
params: {C: 0.5}
model: logistic-regression
gate:
  thresholds: {accuracy: 0.9}
  directional: [{feature: alcohol, step: 1, class: class_0}]
schedule: {cron: "0 3 * * 1"}
resources:
  requests: {cpu: 100m, memory: 1Gi}
  limits: {memory: 2Gi, nvidia.com/gpu: 1}
"""


def model(folder: Path, content: str, readme: str = "What it is for.") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.yaml").write_text(content)
    (folder / "README.md").write_text(readme)
    return folder


def test_options_override_the_file_and_the_file_defaults(tmp_path: Path) -> None:
    found = load_settings({"seed": 9, "gate": {"thresholds": {"f1_macro": 0.8}}}, model(tmp_path, FULL))
    assert (found.data, found.name, found.seed, found.params, found.cv) == ("wine", "cellar", 9, {"C": 0.5}, 5)
    assert found.gate.thresholds == {"accuracy": 0.9, "f1_macro": 0.8}
    assert found.gate.directional[0].label == "class_0"


def test_nothing_given_is_iris() -> None:
    assert load_settings({}) == Settings(data="iris")


def test_another_estimator_does_not_take_the_files_parameters(tmp_path: Path) -> None:
    folder = model(tmp_path, FULL)
    assert load_settings({"model": "random-forest"}, folder).params == {}
    assert load_settings({"model": "random-forest", "params": {"n_estimators": 9}}, folder).params == {
        "n_estimators": 9
    }
    assert load_settings({"model": "logistic-regression"}, folder).params == {"C": 0.5}


def test_a_data_file_beside_the_models_is_found_from_anywhere(tmp_path: Path) -> None:
    folder = model(tmp_path / "models" / "churn", "data: churn.csv\nname: churn\n")
    assert load_settings({}, folder).data == "churn.csv"
    (folder / "churn.csv").write_text("a,b\n")
    assert load_settings({}, folder).data == str(folder / "churn.csv")
    assert load_settings({"data": "wine"}, folder).data == "wine"


def test_yaml_is_read_by_the_rules_of_1_2(tmp_path: Path) -> None:
    content = "data: on\nname: off\ngate:\n  parity_tolerance: 1e-05\n"
    content += "  directional: [{feature: 'yes', step: 1, class: no}]\n"
    found = load_settings({}, model(tmp_path, content))
    assert (found.data, found.name, found.gate.parity_tolerance) == ("on", "off", 1e-5)
    assert (found.gate.directional[0].feature, found.gate.directional[0].label) == ("yes", "no")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("seed: x", "seed: Expected `int`, got `str`"),
        ("sed: 1", "unknown field `sed`"),
        ("tracking_uri: http://mlflow", "unknown field `tracking_uri`"),
        ("seed: [", "not valid YAML (line"),
        ("seed: 1\nseed: 2", 'not valid YAML (line 4: found duplicate key "seed"'),
        ("gate: {latency_ms: 0}", "gate.latency_ms"),
        ("gate: {latency: 1}", "unknown field `latency`"),
        ("gate: {directional: [{feature: a, step: -1}]}", "gate.directional[0].step"),
        ("test_size: 1.0", "test_size: Expected `float` < 1.0"),
        ("cv: 1", "cv: one fold"),
        ("schedule: {cron: weekly}", "schedule.cron: Expected `str` matching regex"),
        ('schedule: {cron: "0 25 * * *"}', "schedule: cron: '25' is not a valid hour: use 0 to 23"),
        (
            'schedule: {cron: "0 3 * * 7"}',
            "schedule: cron: '7' is not a valid day of the week: use 0 to 6 or sun to sat",
        ),
        ('schedule: {cron: "*/0 3 * * 1"}', "schedule: cron: '*/0' is not a valid minute"),
        ('schedule: {cron: "0 3 1 5-2 *"}', "schedule: cron: '5-2' is not a valid month"),
        ("schedule: {cron: '@daily', suspend: no}", "schedule.suspend: Expected `bool`, got `str`"),
        ("resources: {requests: {cpu: 1 core}, limits: {}}", "resources.requests[...]: Expected"),
        ("resources: {requests: {cpu: 1}}", "missing required field `limits`"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        load_settings({}, model(tmp_path, f"data: iris\nname: iris\n{content}\n"))
    assert says in str(caught.value)
    assert str(tmp_path / "training.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it holds nothing"),
        ("- 1", "it holds a list"),
        ("data: iris", "missing required field `name`"),
        ("name: iris", "missing required field `data`"),
        ("data: iris\nname: a/b", "name: Expected `str` matching regex"),
    ],
)
def test_a_file_that_is_not_a_models_is_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_model_file(model(tmp_path, content) / "training.yaml")
    assert says in str(caught.value)


def test_a_folder_without_a_file_and_a_file_that_is_not_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"training\.yaml: the model's file cannot be read"):
        load_settings({}, tmp_path)
    (tmp_path / "training.yaml").write_bytes(b"data: \xff\n")
    with pytest.raises(BadInputError, match="not UTF-8 text"):
        load_settings({}, tmp_path)


def test_folders_are_listed_by_name_with_what_they_register(tmp_path: Path) -> None:
    model(tmp_path / "wine", FULL)
    model(tmp_path / "iris", "data: iris\nname: flowers\n")
    (tmp_path / "README.md").write_text("beside the models")
    (tmp_path / ".cache").mkdir()
    iris, wine = list_folders(tmp_path)
    assert (iris.name, iris.folder, iris.model, iris.cron) == ("iris", str(tmp_path / "iris"), "flowers", None)
    assert (wine.model, wine.data, wine.cron, wine.suspend) == ("cellar", "wine", "0 3 * * 1", False)


def test_everything_wrong_with_a_folder_of_models_is_said_at_once(tmp_path: Path) -> None:
    model(tmp_path / "Iris_1", "data: iris\nname: flowers\n")
    model(tmp_path / "a", "data: iris\nname: flowers\n", readme="  ")
    model(tmp_path / "b", "data: iris\nname: b\nsed: 1\n")
    model(tmp_path / ("c" * 44), "data: iris\nname: c\n")
    (tmp_path / "d").mkdir()
    with pytest.raises(BadInputError) as caught:
        list_folders(tmp_path)
    lines = str(caught.value).splitlines()
    for said in (
        "Iris_1: the folder's name becomes part of names",
        "README.md: missing or empty",
        "unknown field `sed`",
        "c: the folder's name becomes part",
        "d/training.yaml: the model's file cannot be read",
        "all register 'flowers'",
    ):
        assert any(said in line for line in lines), said


def test_an_empty_folder_of_models_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="it contains no model"):
        list_folders(tmp_path)
    with pytest.raises(BadInputError, match="cannot be read"):
        list_folders(tmp_path / "nowhere")


def test_the_command_lists_this_repositorys_models(training: Callable[..., Any]) -> None:
    outcome = training("models", str(ROOT / "models"), "--json")
    assert outcome.code == 0, outcome.err
    assert [entry["name"] for entry in outcome.json] == sorted(path.parent.name for path in FILES[:-1])
    table = training("models", str(ROOT / "models")).out
    assert all(entry["model"] in table for entry in outcome.json)


def test_the_command_says_each_mistake_in_a_line(training: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "models" / "iris").mkdir(parents=True)
    outcome = training("models")
    assert outcome.code == 2
    assert [line[:7] for line in outcome.err.splitlines()] == ["error: ", "error: "]


def test_the_schema_for_editors_is_the_one_that_the_command_prints(training: Callable[..., Any]) -> None:
    assert training("schema").out == SCHEMA.read_text(encoding="utf-8"), "run: make derived"


def test_the_schema_explains_every_key() -> None:
    for name, definition in model_file_schema()["$defs"].items():
        for key, property_ in definition["properties"].items():
            assert property_.get("description"), f"{name}.{key}"
        assert definition["additionalProperties"] is False


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.parent.name)
def test_the_models_here_keep_to_the_schema_and_name_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    content = YAML(typ="safe", pure=True).load(text)
    assert [error.message for error in Draft202012Validator(model_file_schema()).iter_errors(content)] == []
    mark, _, address = text.partition("\n")[0].partition("$schema=")
    assert mark == "# yaml-language-server: "
    assert (file.parent / address).resolve() == SCHEMA


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    validator = Draft202012Validator(model_file_schema())
    for content in ({"data": "iris"}, {"data": "iris", "name": "x", "sed": 1}, {"data": "iris", "name": "x", "cv": -1}):
        assert list(validator.iter_errors(content)), content


@pytest.mark.parametrize(
    "line", ["@weekly", "*/5 0-6,12 1,15 JAN-mar MON", "5/20 ? * * 1-5/2", "0 3 * * sun", "59 23 31 12 6"]
)
def test_cron_lines_that_kubernetes_takes_are_taken(line: str) -> None:
    refuse_wrong(line)
