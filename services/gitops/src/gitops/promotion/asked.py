"""Settings for automation in the values of a service."""

from gitops.documents import YAMLError, loaded
from gitops.errors import BadInputError
from gitops.git.snapshot import Snapshot
from gitops.platform.targets import Target


def asked(start: Snapshot, target: Target, key: str) -> dict[str, object]:
    """Return the value of a key in a service's values, from the nearest file; null values do not count.

    The file of the pins is not read, because people write settings in values.yaml.

    Raises:
        BadInputError: A file is not valid YAML.
    """
    said: dict[str, object] = {}
    for path in target.values_files[:-1]:
        try:
            values = loaded(start.read(path) or "")
        except YAMLError as error:
            raise BadInputError(f"{path} is not valid YAML: {error}.") from None
        found = values.get(key) if isinstance(values, dict) else None
        if isinstance(found, dict):
            said |= found
    return {name: value for name, value in said.items() if value is not None}
