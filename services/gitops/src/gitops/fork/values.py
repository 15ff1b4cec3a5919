"""Checks of the files of values: what charts refuse in each of them, and files that nothing reads."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.fork.schemas import read_schema, refused_keys, refused_values
from gitops.platform.model import Platform
from gitops.platform.targets import ENVS, PINS, PLATFORM, TUNING

_CHARTS = Path("charts")
_SERVING, _TRAINING = _CHARTS / "model-serving", _CHARTS / "training"
_MODELS = Path("models")
_SETTINGS = "training.yaml"
_YAML = frozenset({".yaml", ".yml"})


def problems_of_values(root: Path) -> Iterator[str]:
    """Report keys and values that charts refuse: files of shared parts by their charts, tuning by that of serving."""
    schemas: dict[Path, Mapping[str, Any]] = {}
    for path, chart in _files(root):
        if chart not in schemas:
            try:
                schemas[chart] = read_schema(root, chart / "values.schema.json")
            except BadInputError as error:
                schemas[chart] = {}
                yield str(error)
        yield from _refused(path, path.relative_to(root), chart, schemas[chart])


def files_without_reader(root: Path, platform: Platform) -> Iterator[str]:
    """Report YAML files with names that neither Argo CD nor `gitops` reads, so that they would do nothing."""
    known = {entry.name for entry in platform.environments}
    for path in _yaml_files(root / ENVS):
        parts = path.relative_to(root / ENVS).parts
        # Folders of no environment are another problem, and Applications of apps/extra may read files of shared parts.
        if len(parts) > 1 and parts[0] not in known:
            continue
        if not _is_read(parts):
            yield (
                f"{path.relative_to(root)}: nothing reads a file of this name: put its content into {TUNING}, or "
                f"remove it. {ENVS}/README.md has the names."
            )
    for path in _yaml_files(root / _MODELS):
        where = path.relative_to(root)
        if where.with_suffix(".yaml").name in (_SETTINGS, TUNING) and path.suffix == ".yml":
            yield f"{where}: nothing reads a file of this name: call it {where.with_suffix('.yaml').name}."


def _is_read(parts: Sequence[str]) -> bool:
    return parts[-1] == TUNING if len(parts) < 3 else len(parts) == 3 and parts[-1] in (PINS, TUNING)


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in _YAML and path.is_file())


def _refused(path: Path, where: Path, chart: Path, schema: Mapping[str, Any]) -> Iterator[str]:
    try:
        values = loaded(path.read_bytes().decode(errors="replace")) if path.is_file() else None
    except YAMLError as error:
        yield f"{where} is not valid YAML: {error}."
        return
    except OSError:
        return
    if values is not None and not isinstance(values, dict):
        yield f"{where} holds no values: it must be a mapping."
        return
    for key in refused_keys(values or {}, schema):
        yield f"{where}: the chart {chart.name} has no value {key}: `helm show values {chart}` lists them."
    for sentence in refused_values(values or {}, schema):
        yield f"{where}: {sentence}."


def _files(root: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file of values, with its chart."""
    yield root / ENVS / TUNING, _SERVING
    for path in sorted([*(root / ENVS).glob("*/*.yaml"), *(root / ENVS).glob("*/*/*.yaml")]):
        if path.relative_to(root).parts[1] == PLATFORM:
            yield path, _CHARTS / path.stem
        elif path.name == TUNING:
            yield path, _SERVING
    for path in sorted((root / _MODELS).glob(f"*/{TUNING}")):
        yield path, _TRAINING
