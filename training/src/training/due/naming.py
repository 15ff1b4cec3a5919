"""Find the folder of a model by the folder's name, the registered model's name, or the name of a service of it."""

from pathlib import Path

from training.errors import BadInputError
from training.model_folder import ModelFolder, list_folders, read_content
from training.settings import suggestion


def folder_of(name: str, models: Path, platform: Path) -> Path:
    """Return the folder of the model that a name means.

    Args:
        name: A service of platform.yaml, a registered model, or a folder of models.
        models: The folder of models.
        platform: The platform.yaml; it need not exist.

    Raises:
        BadInputError: No model has this name, or several have.
    """
    folders = list_folders(models)
    served = _served(platform)
    wanted = {name, served.get(name, name)}
    found = [entry for entry in folders if entry.name == name or entry.model in wanted]
    if len(found) > 1:
        raise BadInputError(
            f"{name!r} means several models: {', '.join(_title(entry) for entry in found)}; give the registered name "
            "of one of them, or its folder with --model-dir."
        )
    if not found:
        if name in served:
            raise BadInputError(
                f"{platform}: the service {name!r} serves {served[name]}, but no folder of {models} registers it. If "
                "it is trained elsewhere, its owners know when it is due."
            )
        known = [*served, *(entry.name for entry in folders), *(entry.model for entry in folders)]
        raise BadInputError(
            f"{name!r} is neither a service of {platform} nor a model of {models}.{suggestion(name, known)} There are "
            f"{', '.join(_title(entry) for entry in folders)}."
        )
    return Path(found[0].folder)


def _served(platform: Path) -> dict[str, str]:
    """Return the registered models by service. An invalid file is not reported here: `gitops check` does that."""
    if not platform.is_file():
        return {}
    services = read_content(platform).get("services")
    found = [entry for entry in services if isinstance(entry, dict)] if isinstance(services, list) else []
    return {str(entry["name"]): str(entry["model"]) for entry in found if "name" in entry and "model" in entry}


def _title(entry: ModelFolder) -> str:
    return f"{entry.model} ({entry.folder})"
