"""All rules over the manifests of a release, whoever rendered them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support import pod_rules, set_rules
from tests.support.manifests import Manifest


def violations(manifests: Sequence[Manifest]) -> list[str]:
    """Return a sentence for each rule that a manifest, or all of them together, break."""
    alone = [found for manifest in manifests for rule in pod_rules.RULES for found in rule(manifest)]
    return alone + [found for rule in set_rules.RULES for found in rule(manifests)]
