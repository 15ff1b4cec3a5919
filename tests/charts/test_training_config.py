"""`training` accepts the files that the training chart passes to it, also those of this repository's models."""

from pathlib import Path

import pytest
import yaml

from tests.support import helm
from tests.support.manifests import Manifest, parse
from training.model_folder import TRAINING_FILE, ModelFolder, list_folders, load_settings

MODELS = helm.ROOT / "models"


@pytest.mark.parametrize("scenario", helm.scenarios("training"), ids=lambda path: path.stem)
def test_the_command_takes_the_file(scenario: Path, tmp_path: Path) -> None:
    config = _of_kind("ConfigMap", parse(helm.template("training", scenario).output))
    (tmp_path / TRAINING_FILE).write_text(config["data"][TRAINING_FILE], encoding="utf-8")
    assert load_settings({}, tmp_path).data


@pytest.mark.parametrize("model", list_folders(MODELS), ids=lambda model: model.name)
def test_a_release_of_a_model_gets_its_file_its_schedule_and_its_resources(model: ModelFolder) -> None:
    folder = MODELS / model.name
    outcome = helm.run(
        "helm",
        "template",
        f"training-{folder.name}",
        helm.CHARTS / "training",
        "--values",
        helm.ROOT / "envs" / "platform" / "training.yaml",
        "--set-file",
        f"training={folder / TRAINING_FILE}",
    )
    assert outcome.code == 0, outcome.errors
    manifests = parse(outcome.output)
    text = (folder / TRAINING_FILE).read_text(encoding="utf-8")
    said = yaml.safe_load(text)
    assert _of_kind("ConfigMap", manifests)["data"][TRAINING_FILE] == text
    job = _of_kind("CronJob", manifests)
    assert job["metadata"]["name"] == f"training-{folder.name}"
    assert (job["spec"]["schedule"], job["spec"]["suspend"]) == (said["schedule"]["cron"], said["schedule"]["suspend"])
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["run", "--model-dir", f"/models/{folder.name}"]
    assert container["resources"] == said["resources"]


def _of_kind(kind: str, manifests: list[Manifest]) -> Manifest:
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found
