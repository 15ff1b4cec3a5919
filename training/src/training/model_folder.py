"""A model as code: the folder `models/NAME` with its training.yaml and its README.md."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from training.addresses import is_address
from training.cron import refuse_wrong
from training.due.settings import DueSettings
from training.errors import BadInputError
from training.settings import Learning, ModelName, Settings, converted, merged, refuse_one_fold

TRAINING_FILE = "training.yaml"
README_FILE = "README.md"
CODE_FILE = "pipeline.py"
# The CronJob is called `training-NAME`. Its Jobs add eleven characters, and a DNS label has at most 63.
_LONGEST_NAME = 52 - len("training-")
_FOLDER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_CRON = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( \S+){4})$"

Quantity = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")] | int | float


class Schedule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the CronJob in the cluster trains the model.

    Attributes:
        cron: A cron line in UTC: minute, hour, day of the month, month, day of the week; or `@daily` and its like.
        suspend: Whether the schedule is paused; Jobs can be created by hand either way.
    """

    cron: Annotated[str, Meta(pattern=_CRON)]
    suspend: bool = False

    def __post_init__(self) -> None:
        """Refuse what Kubernetes would refuse, because its refusal stops the sync of the whole application."""
        try:
            refuse_wrong(self.cron)
        except ValueError as error:
            raise ValueError(f"cron: {error}") from error


class Resources(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The resources of a training pod in the cluster, in the form of Kubernetes.

    Attributes:
        requests: What is reserved for the pod, as in `{cpu: 100m, memory: 384Mi}`.
        limits: The most that the pod gets.
    """

    requests: dict[str, Quantity]
    limits: dict[str, Quantity]


class ModelFile(Learning, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model: what it learns, what it must achieve, and when and with which resources the cluster trains it.

    Attributes:
        data: A built-in data set's name; the path of a CSV or Parquet file, or of a folder of Parquet files; or an
            address: `s3://BUCKET/KEY`, `https://...`, or a database's, as `postgresql+psycopg://HOST/DATABASE`. A
                path that exists next to this file means that file; in the cluster `/data/NAME` is a file of the
                chart's `dataVolume`.
        name: The registered model.
        schedule: When the cluster trains it; without one it is trained by hand only.
        due: What counts as a reason to train it again, for `training due`.
        resources: What a training pod gets; by default the chart's `resources`.
    """

    data: Annotated[str, Meta(min_length=1)]
    name: ModelName
    schedule: Schedule | None = None
    due: DueSettings | None = None
    resources: Resources | None = None


class ModelFolder(Struct, frozen=True, kw_only=True):
    """One model's folder: its name, its path, the registered model, and the main content of its file.

    `cron` is null if the model is trained by hand only.
    """

    name: str
    folder: str
    model: str
    data: str
    cron: str | None
    suspend: bool


class FolderLook(Struct, frozen=True, kw_only=True):
    """What is in a folder of models: a sentence for each mistake, and as much as can be read despite them.

    Attributes:
        path: The folder.
        model: The registered model; empty if the file does not say it, or cannot be read.
        file: The file; null if it is not valid.
        faults: The mistakes.
    """

    path: Path
    model: str
    file: ModelFile | None
    faults: Sequence[str]


# Settings that only concern the cluster: when a run happens, and with which resources.
OF_THE_CLUSTER = ("schedule", "resources", "due")


def load_settings(
    overrides: Mapping[str, Any], model_dir: Path | None = None, defaults: Mapping[str, Any] | None = None
) -> Settings:
    """Return the settings of a run.

    Args:
        overrides: Flags and environment variables, in the shape of the file; nested tables are merged. If they name
            another `model` than the file, the file's `params` are left out, because they belong to its estimator.
        model_dir: A model's folder.
        defaults: Values that apply if neither says anything, in the same shape.

    Raises:
        BadInputError: The file cannot be read, or a value is not allowed, wherever it comes from.
    """
    read: dict[str, Any] = {}
    if model_dir is not None:
        read = read_content(model_dir / TRAINING_FILE)
        _checked(read, model_dir / TRAINING_FILE)
        read = {key: value for key, value in read.items() if key not in OF_THE_CLUSTER}
        read["data"] = _beside(model_dir, read["data"])
        if isinstance(known := read.get("outcomes"), dict):
            truth = [_beside(model_dir, each) for each in known.get("truth", [])]
            start = {"start": _beside(model_dir, known["start"])} if known.get("start") else {}
            read["outcomes"] = {**known, "truth": truth, **start}
        if (model_dir / README_FILE).is_file():
            read["readme"] = str(model_dir / README_FILE)
        code = model_dir / CODE_FILE
        if code.is_file() and "model" in read:
            raise BadInputError(
                f"{model_dir / TRAINING_FILE}: model: {read['model']!r}, and {code} exists; leave one of them out."
            )
        if overrides.get("model") not in (None, read.get("model")):
            read.pop("params", None)
        elif code.is_file():
            read["code"] = str(code)
    settings = converted(merged(merged(defaults or {}, read), overrides), Settings, "the options")
    refuse_one_fold(settings)
    return settings


def _beside(folder: Path, data: str) -> str:
    """Return the name of data; a path next to the file becomes a path from the current folder."""
    beside = folder / data
    return str(beside) if not is_address(data) and beside.exists() else data


def read_model_file(path: Path) -> ModelFile:
    """Read a training.yaml, by the rules of YAML 1.2.

    Raises:
        BadInputError: It cannot be read, or a value is not allowed.
    """
    return _checked(read_content(path), path)


def list_folders(root: Path) -> list[ModelFolder]:
    """Return the models of a folder of models, sorted by name.

    Raises:
        BadInputError: There is none, or there are mistakes; the message has a line for each of them.
    """
    looks = look_through(root)
    if wrong := [*(fault for look in looks for fault in look.faults), *shared_names(looks).values()]:
        raise BadInputError("\n".join(wrong))
    return [
        ModelFolder(
            name=look.path.name,
            folder=str(look.path),
            model=look.file.name,
            data=look.file.data,
            cron=look.file.schedule.cron if look.file.schedule else None,
            suspend=look.file.schedule.suspend if look.file.schedule else True,
        )
        for look in looks
        if look.file
    ]


def look_through(root: Path) -> list[FolderLook]:
    """Look at every folder of a folder of models, sorted by name; one with mistakes hides no other.

    Raises:
        BadInputError: There is none.
    """
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise BadInputError(f"{root}: the folder of models cannot be read ({error.strerror}).") from error
    if not folders:
        raise BadInputError(
            f"{root}: it contains no model; a model is a folder with {TRAINING_FILE} and {README_FILE}."
        )
    return [_look(folder) for folder in folders]


def shared_names(looks: Sequence[FolderLook]) -> dict[str, str]:
    """Return a sentence for each registered model that several folders register, by its name."""
    counts = Counter(look.model for look in looks if look.model)
    return {
        name: f"{', '.join(str(look.path) for look in looks if look.model == name)}: all register {name!r}; give each "
        "its own `name`."
        for name, count in counts.items()
        if count > 1
    }


def _look(folder: Path) -> FolderLook:
    faults, model, file = _faults(folder), "", None
    try:
        content = read_content(folder / TRAINING_FILE)
        model = name if isinstance(name := content.get("name"), str) else ""
        file = _checked(content, folder / TRAINING_FILE)
    except BadInputError as error:
        faults.append(str(error))
    return FolderLook(path=folder, model=model, file=file, faults=faults)


def _faults(folder: Path) -> list[str]:
    wrong = []
    if not _FOLDER_NAME.fullmatch(folder.name) or len(folder.name) > _LONGEST_NAME:
        wrong.append(
            f"{folder}: the folder's name becomes part of names in the cluster: it must have lower-case letters, "
            f"digits and hyphens only, at most {_LONGEST_NAME} characters."
        )
    readme = folder / README_FILE
    if not readme.is_file() or not readme.read_bytes().strip():
        wrong.append(f"{readme}: missing or empty; write what the model is for, and what it must not be used for.")
    return wrong


def read_content(path: Path) -> dict[str, Any]:
    """Read the settings in a file of YAML 1.2, unchecked.

    Raises:
        BadInputError: It cannot be read, or holds something other than `key: value`.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: the model's file cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadInputError(f"{path}: not valid YAML ({line}{error.problem}).") from error
    except (YAMLError, ValueError) as error:
        raise BadInputError(f"{path}: not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: it holds {_kind(content)}, but must hold settings as `key: value`.")
    found: dict[str, Any] = _with_text_keys(content)
    return found


def _with_text_keys(content: Any) -> Any:
    """Return content whose keys are texts: in YAML, a class may be called 1, and a column 2024."""
    if isinstance(content, dict):
        return {
            str(key) if isinstance(key, bool | int | float) else key: _with_text_keys(value)
            for key, value in content.items()
        }
    return [_with_text_keys(value) for value in content] if isinstance(content, list) else content


def _kind(content: object) -> str:
    return "nothing" if content is None else f"a {type(content).__name__}"


def _checked(content: Mapping[str, Any], path: Path) -> ModelFile:
    file = converted(content, ModelFile, str(path))
    refuse_one_fold(file, f"{path}: ")
    return file
