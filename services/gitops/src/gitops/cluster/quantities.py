"""Kubernetes quantities as numbers."""

import re

from gitops.errors import BadInputError

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_FACTORS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1.0,
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)},
    **{letter: 1000.0**power for power, letter in enumerate("kMGTPE", start=1)},
}
_QUANTITY = re.compile(r"(?P<number>[0-9.]+(?:[eE][-+]?[0-9]+)?)(?P<suffix>[A-Za-z]*)")


def number_of(quantity: str) -> float:
    """Return a quantity in cores or bytes: `250m` is 0.25, `512Mi` is 536870912.

    Raises:
        BadInputError: It is not a quantity.
    """
    match = _QUANTITY.fullmatch(quantity)
    if not match or match["suffix"] not in _FACTORS:
        raise BadInputError(f"{quantity!r} is not a Kubernetes quantity.")
    return float(match["number"]) * _FACTORS[match["suffix"]]
