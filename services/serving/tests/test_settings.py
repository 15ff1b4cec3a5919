"""Settings come from the environment, errors name what would be right, and the help lists all settings."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.__main__ import main
from serving.app import create_app
from serving.batch.settings import ScoreSettings
from serving.environment import SettingsError, read, variables
from serving.settings import Settings, SmokeSettings, WantedModel

README = Path(__file__).parents[1] / "README.md"
DIGEST = "sha256:" + "a" * 64


def test_defaults() -> None:
    settings = read(Settings, {})
    assert settings.mlflow_tracking_uri == "http://mlflow:5000"
    assert settings.model_name == "iris-classifier"
    assert [(model.name, model.stage) for model in settings.models] == [("iris-classifier", "Production")]
    assert settings.port == 8080
    assert settings.access_log is False


def test_values_are_parsed_and_empty_ones_count_as_absent() -> None:
    environ = {"PORT": "9000", "ACCESS_LOG": "true", "MODEL_VERSION": "", "LOG_FORMAT": "CONSOLE", "UNRELATED": "x"}
    settings = read(Settings, environ)
    assert (settings.port, settings.access_log, settings.model_version) == (9000, True, "")
    assert settings.log_format == "console"


def test_further_models_follow_or_are_pinned() -> None:
    uri = "s3://mlflow/1/models/m-1/artifacts"
    given = [
        {"name": "wine", "stage": "Staging"},
        {"name": "digits", "version": ""},
        {"name": "diabetes", "version": "3", "digest": DIGEST, "uri": uri},
    ]
    settings = read(Settings, {"EXTRA_MODELS": json.dumps(given), "MODEL_VERSION": "7"})
    assert settings.models == (
        WantedModel("iris-classifier", version="7"),
        WantedModel("wine", "Staging"),
        WantedModel("digits", "Production"),
        WantedModel("diabetes", version="3", digest=DIGEST, uri=uri),
    )


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("[{", "a JSON list of objects of name, stage, version, digest, uri, release, but is not one"),
        ("[" * 100_000, "EXTRA_MODELS takes a JSON list of objects"),
        ({"name": "wine"}, "EXTRA_MODELS takes a JSON list of objects"),
        (["wine"], "EXTRA_MODELS takes a JSON list of objects"),
        ([{"stage": "Production"}], "EXTRA_MODELS[0].name is missing"),
        ([{"name": "a/b"}], "EXTRA_MODELS[0].name is 'a/b', but takes text that matches"),
        ([{"name": "wine", "alias": "x"}], "EXTRA_MODELS[0].alias is unknown; known ones are name, stage, version"),
        ([{"name": "wine", "version": 3}], "EXTRA_MODELS[0].version is 3, but must be text: put it in quotes"),
        ([{"name": "wine", "version": "latest"}], "EXTRA_MODELS[0].version is 'latest'"),
        ([{"name": "wine", "stage": "a b"}], "EXTRA_MODELS[0].stage is 'a b'"),
        (
            [{"name": "wine"}, {"name": "x", "version": "1", "digest": "sha256:x"}],
            "EXTRA_MODELS[1].digest is 'sha256:x'",
        ),
        ([{"name": "wine", "stage": "Production", "version": "1"}], "EXTRA_MODELS[0].stage names an alias to follow"),
        ([{"name": "wine", "digest": DIGEST}], "EXTRA_MODELS[0].digest belongs to a pinned version: set version too"),
        ([{"name": "wine", "version": "1", "uri": "s3://b/x"}], "EXTRA_MODELS[0].uri is used without MLflow"),
        (
            [{"name": "wine", "version": "1", "uri": "gs://b/x", "digest": DIGEST}],
            "EXTRA_MODELS[0].uri is 'gs://b/x', but takes an address that starts with s3://",
        ),
        ([{"name": "wine"}, {"name": "wine"}], "EXTRA_MODELS[1].name is 'wine', which is already served"),
        ([{"name": "iris-classifier"}], "EXTRA_MODELS[0].name is 'iris-classifier', which is already served"),
    ],
)
def test_mistakes_in_further_models_are_named_by_index(models: Any, message: str) -> None:
    text = models if isinstance(models, str) else json.dumps(models)
    with pytest.raises(SettingsError) as caught:
        read(Settings, {"EXTRA_MODELS": text})
    assert message in str(caught.value)


def test_further_models_may_come_as_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--extra-models", '[{"name": "wine"}, {"name": "wine"}]']) == 2
    assert "EXTRA_MODELS[1].name is 'wine'" in capsys.readouterr().err


def test_the_length_of_a_text_is_named() -> None:
    with pytest.raises(SettingsError, match=r"UNIX_SOCKET is '/x+', but takes text .* of at most 100 characters$"):
        read(Settings, {"UNIX_SOCKET": "/" + "x" * 100})
    with pytest.raises(SettingsError, match=r"SCORE_CSV_SEPARATOR is ';;', but takes text of 1 character$"):
        read(ScoreSettings, {"SCORE_INPUT": "in", "SCORE_OUTPUT": "out", "SCORE_CSV_SEPARATOR": ";;"})


def test_trusted_types_are_a_list() -> None:
    settings = read(Settings, {"SKOPS_TRUSTED_TYPES": "a.B, c.D,,"})
    assert settings.extra_trusted_types == {"a.B", "c.D"}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PORT": "http"}, "PORT is 'http', but takes a whole number from 1 to 65535"),
        ({"PORT": "0"}, "PORT is '0'"),
        ({"ACCESS_LOG": "maybe"}, "ACCESS_LOG is 'maybe', but takes true or false"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT is 'xml', but takes one of console, json"),
        ({"MODEL_VERSION": "latest"}, "MODEL_VERSION is 'latest'"),
        ({"MODEL_VERSION": "1", "MODEL_DIGEST": "sha256:xyz"}, "MODEL_DIGEST is 'sha256:xyz'"),
        ({"MLFLOW_TRACKING_URI": "mlflow:5000"}, "MLFLOW_TRACKING_URI is 'mlflow:5000'"),
        ({"MODEL_NAME": "it's"}, "MODEL_NAME"),
        ({"MODEL_POLL_SECONDS": "nan"}, "MODEL_POLL_SECONDS is 'nan'"),
        ({"MODEL_URI": "s3://b/x", "MODEL_DIGEST": DIGEST}, "MODEL_URI belongs to a pinned version"),
        ({"MODEL_DIGEST": DIGEST}, "MODEL_DIGEST belongs to a pinned version"),
        ({"MODEL_VERSION": "1", "MODEL_URI": "s3://b/x"}, "set MODEL_DIGEST too"),
        ({"MODEL_VERSION": "1", "MODEL_URI": "gs://b/x", "MODEL_DIGEST": DIGEST}, "MODEL_URI is 'gs://b/x'"),
        (
            {"SHADOW_URI": "s3://b/x", "SHADOW_DIGEST": DIGEST},
            "SHADOW_URI belongs to a pinned version: set SHADOW_VERSION",
        ),
        ({"SHADOW_VERSION": "2", "SHADOW_URI": "s3://b/x"}, "set SHADOW_DIGEST too"),
        ({"SHADOW_SAMPLE": "10"}, "SHADOW_SAMPLE is '10', but takes a number from 0 to 1"),
        ({"RETRY_MIN_SECONDS": "10", "RETRY_MAX_SECONDS": "1"}, "RETRY_MAX_SECONDS is less"),
    ],
)
def test_mistakes_are_named_with_the_way_out(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(Settings, environ)
    assert message in str(caught.value)


def test_a_mistake_ends_the_command_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_CACHE_SIZE", "none")
    assert main([]) == 2
    assert capsys.readouterr().err == ("serving: MODEL_CACHE_SIZE is 'none', but takes a whole number from 1 to 100\n")


def test_a_flag_overrides_its_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PORT", "8080")
    assert main(["run", "--port", "eighty"]) == 2
    assert "PORT is 'eighty'" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "settings"), [("run", Settings), ("smoke", SmokeSettings)])
def test_help_lists_every_variable(command: str, settings: type[Settings | SmokeSettings]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serving", command, "--help"], capture_output=True, text=True, check=True
    )
    for variable in variables(settings):
        assert "--" + variable.name.lower().replace("_", "-") in done.stdout
        assert variable.description


def test_the_readme_lists_every_variable_with_its_default() -> None:
    text = README.read_text(encoding="utf-8")
    for variable in (*variables(Settings), *variables(SmokeSettings)):
        default = f"`{variable.default}`" if variable.default else "-"
        assert f"| `{variable.name}` | {default} |" in text, f"README.md lacks {variable.name} with default {default}"


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"MODEL_DIR is .*, but no file can be written there"):
        create_app(read(Settings, {"MODEL_DIR": str(tmp_path / "file")}))


def test_the_readme_lists_every_metric(iris_api: httpx.Client) -> None:
    text = README.read_text(encoding="utf-8")
    families = list(text_string_to_metric_families(iris_api.get("/metrics").text))
    ours = [family for family in families if family.name.startswith("serving_")]
    assert len(ours) >= 12
    for family in ours:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"| `{name}` | {family.type} |" in text, f"README.md lacks {name}"
