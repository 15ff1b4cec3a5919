"""Find the folder of a model by the folder's name, the registered model's name, or the name of a service of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from training.errors import BadInputError
from training.model_folder import FolderLook, look_through, read_content, shared_names
from training.settings import suggestion


def folder_of(name: str, models: Path, platform: Path, note: Callable[[str], None]) -> Path:
    """Return the folder of the model that a name means.

    Args:
        name: A service of platform.yaml, a registered model, or a folder of models.
        models: The folder of models.
        platform: The platform.yaml; it need not exist.
        note: Receives a sentence for each mistake elsewhere, which does not concern this model.

    Raises:
        BadInputError: No model has this name, several have, or there are mistakes in its folder.
    """
    looks = look_through(models)
    served = _served(platform, note)
    wanted = {name, served.get(name, name)}
    found = [look for look in looks if look.path.name == name or look.model in wanted]
    shared = shared_names(looks)
    ours = {look.model for look in found}
    for remark in [
        *(fault for look in looks if look not in found for fault in look.faults),
        *(sentence for model, sentence in shared.items() if model not in ours),
    ]:
        note(remark)
    if wrong := [sentence for model, sentence in shared.items() if model in ours]:
        raise BadInputError("\n".join(wrong))
    if not found:
        raise BadInputError(_unknown(name, models, platform, looks, served))
    if len(found) > 1:
        raise BadInputError(
            f"{name!r} means several models: {', '.join(_title(look) for look in found)}; give the registered name "
            "of one of them, or its folder with --model-dir."
        )
    if found[0].faults:
        raise BadInputError("\n".join(found[0].faults))
    return found[0].path


def _unknown(name: str, models: Path, platform: Path, looks: Sequence[FolderLook], served: dict[str, str]) -> str:
    nameless = ", ".join(str(look.path) for look in looks if not look.model)
    unread = f" The registered name in {nameless} cannot be read." if nameless else ""
    if name in served:
        return (
            f"{platform}: the service {name!r} serves {served[name]}, but no folder of {models} registers it. If "
            f"it is trained elsewhere, its owners know when it is due.{unread}"
        )
    known = [*served, *(look.path.name for look in looks), *(look.model for look in looks if look.model)]
    return (
        f"{name!r} is neither a service of {platform} nor a model of {models}.{suggestion(name, known)} There are "
        f"{', '.join(_title(look) for look in looks)}.{unread}"
    )


def _served(platform: Path, note: Callable[[str], None]) -> dict[str, str]:
    """Return the registered models by service; for other mistakes in the file, there is `gitops check`."""
    if not platform.is_file():
        return {}
    try:
        services = read_content(platform).get("services")
    except BadInputError as error:
        note(str(error))
        return {}
    found = [entry for entry in services if isinstance(entry, dict)] if isinstance(services, list) else []
    return {str(entry["name"]): str(entry["model"]) for entry in found if "name" in entry and "model" in entry}


def _title(look: FolderLook) -> str:
    return f"{look.model} ({look.path})" if look.model else str(look.path)
