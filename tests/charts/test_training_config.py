"""Proves that the training chart writes configuration files that `training` takes, and offers all that it takes."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.support import helm
from tests.support.manifests import parse
from training.settings import GateSettings, Settings, load_settings

# Told by the environment, like every other address.
NOT_IN_THE_FILE = {"tracking_uri"}


def test_the_schema_offers_every_setting() -> None:
    schema = json.loads((helm.CHARTS / "training" / "values.schema.json").read_text(encoding="utf-8"))
    config = schema["properties"]["config"]["properties"]
    assert set(config) == fields(Settings) - NOT_IN_THE_FILE
    assert set(config["gate"]["properties"]) == fields(GateSettings)


def fields(settings: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(settings)}


@pytest.mark.parametrize("scenario", helm.scenarios("training"), ids=lambda path: path.stem)
def test_the_command_takes_the_file(scenario: Path, tmp_path: Path) -> None:
    manifests = parse(helm.template("training", scenario).output)
    (content,) = (manifest["data"]["config.yaml"] for manifest in manifests if manifest["kind"] == "ConfigMap")
    file = tmp_path / "config.yaml"
    file.write_text(content, encoding="utf-8")
    assert load_settings({}, file).data
