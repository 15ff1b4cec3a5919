"""Requirements for merges into the branch that Argo CD reads: for every forge, in GitHub's form."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from gitops.errors import BadInputError
from gitops.platform.model import Platform
from gitops.platform.targets import ENVS, PINS, PLATFORM

FOLDER = Path(".github/rulesets")
PULL_REQUESTS = "pull-requests"
_OWNERS_ALONE = {"required_approving_review_count": 0, "require_last_push_approval": False}
_TAG = "refs/tags/"


class Rules(Struct, frozen=True, kw_only=True):
    """The rules; `documents` are the rulesets for GitHub's API."""

    documents: Sequence[Mapping[str, Any]]
    approvals: int
    dismiss_stale: bool
    """Whether a push dismisses approvals."""
    owners: bool
    """Whether the owners in CODEOWNERS must approve."""
    conversations: bool
    """Whether every conversation must be resolved."""
    checks: Sequence[str]
    """Names of the checks that must pass."""
    merges: Sequence[str]
    """Ways to merge: merge, squash, rebase."""
    machine_paths: Sequence[str]
    """Patterns of the files that automation pushes to the branch; other files change by pull requests."""
    merge_themselves: bool = False
    """Whether automation pushes nothing, and its pull requests merge once the checks have passed."""
    tags: Sequence[str]
    """Patterns of tags that nobody may move or delete, and that only automation or maintainers create."""


def read_rules(root: Path, platform: Platform) -> Rules:
    """Read the rulesets of a fork, and which files automation writes.

    Raises:
        BadInputError: A file is missing or invalid.
    """
    documents: list[dict[str, Any]] = []
    for file in sorted((root / FOLDER).glob("*.json")):
        try:
            documents.append(_read_by(json.loads(file.read_text(encoding="utf-8")), platform))
        except (OSError, ValueError) as error:
            raise BadInputError(f"{file.relative_to(root)} is not valid JSON: {error}.") from None
    try:
        (branch,) = [each for each in documents if each["target"] == "branch"]
        found = {each["type"]: each.get("parameters", {}) for each in branch["rules"]}
        review = found["pull_request"]
        return Rules(
            documents=documents,
            approvals=review["required_approving_review_count"],
            dismiss_stale=review["dismiss_stale_reviews_on_push"],
            owners=review["require_code_owner_review"],
            conversations=review["required_review_thread_resolution"],
            checks=[each["context"] for each in found["required_status_checks"]["required_status_checks"]],
            merges=review["allowed_merge_methods"],
            machine_paths=machine_paths(platform),
            merge_themselves=platform.bumps == PULL_REQUESTS,
            tags=sorted(
                {
                    name.removeprefix(_TAG)
                    for each in documents
                    if each["target"] == "tag"
                    for name in each["conditions"]["ref_name"]["include"]
                }
            ),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{FOLDER} needs one ruleset of a branch with the rules pull_request and required_status_checks "
            f"({error!r}): restore it with git checkout HEAD -- {FOLDER}."
        ) from None


def _read_by(document: dict[str, Any], platform: Platform) -> dict[str, Any]:
    """Return a ruleset; with pull-request bumps nobody bypasses that of the branch, and only owners must approve."""
    if platform.bumps != PULL_REQUESTS or document["target"] != "branch":
        return document
    rules = [
        {**rule, "parameters": {**rule["parameters"], **_OWNERS_ALONE}} if rule["type"] == "pull_request" else rule
        for rule in document["rules"]
    ]
    return {**document, "bypass_actors": [], "rules": rules}


def machine_paths(platform: Platform) -> list[str]:
    """Return patterns of the files that automation pushes: pins of environments without `from`, and of shared parts."""
    moved = [f"{ENVS}/{each.name}/*/{PINS}" for each in platform.environments if not each.source]
    return [*moved, f"{ENVS}/{PLATFORM}/pins/*.yaml"]
