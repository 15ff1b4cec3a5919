"""The commands about the forge itself: its pull requests, its workflows, its settings, and what is missing there."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from gitops.commands.landing import trunk_of
from gitops.commands.options import Json
from gitops.errors import BadInputError, GitopsError
from gitops.forge.choice import forge, needed_forge
from gitops.forge.doctor import PARTS, Part, examine
from gitops.forge.protocol import Opinion
from gitops.forge.rules import FOLDER, read_rules
from gitops.git.repository import Repository
from gitops.git.snapshot import VERBS
from gitops.platform.reader import load_platform
from gitops.terminal import Terminal


def pulls(*, json: Json = False) -> int:
    """List the open pull requests of gitops: who approved, what the checks say, and whether they can be merged.

    Args:
        json: Print them as JSON.
    """
    terminal, platform = Terminal(), load_platform(Repository.find().root)
    there = needed_forge(platform, "pulls", "You can also see them in a browser.")
    with terminal.working("Asking the forge"):
        kept = [pull for pull in there.all_open() if pull.branch.partition("/")[0] in VERBS]
        found = [(pull, there.opinion(pull)) for pull in kept]
    if json:
        terminal.json([{"pull": pull, "opinion": opinion} for pull, opinion in found])
        return 0
    rows = [[f"{pull.number} {pull.title}", *_words(opinion), pull.url] for pull, opinion in found]
    if rows:
        terminal.rows("Pull requests", ("which", "approvals", "checks", "conflicts", "where"), rows)
    else:
        terminal.line("There is no open pull request of gitops.")
    return 0


def dispatch(
    workflow: str,
    /,
    *,
    input: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),  # noqa: A002  the option's name
) -> int:
    """Start a workflow at the forge, on the branch that Argo CD reads.

    Args:
        workflow: The name of its file without the ending, such as train.
        input: An input of the workflow, NAME=VALUE; repeatable.
    """
    terminal, platform = Terminal(), load_platform(Repository.find().root)
    inputs = {}
    for text in input:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise BadInputError(f"--input: {text!r} is not NAME=VALUE.")
        inputs[name] = value
    needed_forge(platform, "dispatch", "You can also start workflows in a browser.").dispatch(workflow, inputs)
    terminal.line(f"Started {workflow} on {platform.branch}.")
    return 0


def branch_protection(*, pusher: str) -> int:
    """Write the settings of the repository at its forge, so that the branch changes only by reviewed pull requests.

    The rules are in .github/rulesets, for every forge. Safe to run again: existing settings are updated. The
    token must administer the repository.

    Args:
        pusher: Who bumps, and may push to the protected branch: the number of a GitHub App, or on other forges a user's
            name.
    """
    terminal, root = Terminal(), Repository.find().root
    platform = load_platform(root)
    rules = read_rules(root, platform)
    there = needed_forge(platform, "branch-protection", "The token must administer the repository.")
    try:
        written = there.protect(rules, pusher)
    except GitopsError as error:
        raise type(error)(f"{error}\nRun it again: it then writes all settings of {FOLDER}.") from None
    for sentence in written:
        terminal.line(sentence)
    return 0


def doctor(
    *,
    without: Annotated[tuple[Part, ...], Parameter(negative="", show_default=False)] = (),
    json: Json = False,
) -> int:
    """Report what is missing at the forge: token, rights, push, protection, webhook. Changes nothing.

    The exit code is 1 if something is missing. A setting that the token may not read is reported, and does not count.

    Args:
        without: Check to skip, such as the webhook of a cluster that the forge cannot reach; repeatable.
        json: Print what was found as JSON.
    """
    terminal, repository = Terminal(), Repository.find()
    platform = load_platform(repository.root)
    rules = read_rules(repository.root, platform)
    today = datetime.now(UTC).date()
    with terminal.working("Looking"):
        findings = examine(platform, forge(platform), trunk_of(repository), rules, today)
    wanted = [part for part in PARTS if part not in without]
    shown = [finding for finding in findings if finding.part in wanted]
    if json:
        terminal.json(shown)
    else:
        for finding in shown:
            terminal.line(f"{finding.state:<8} {finding.part:<11} {finding.text}")
    return 1 if any(finding.state == "missing" for finding in shown) else 0


def _words(opinion: Opinion) -> list[str]:
    approvals = [*opinion.approved_by, *(f"not {who}" for who in opinion.rejected_by)]
    failed = [check.name for check in opinion.checks if check.state == "failed"]
    waiting = [check.name for check in opinion.checks if check.state == "waiting"]
    checks = [f"failed: {', '.join(failed)}"] if failed else []
    checks += [f"waiting: {', '.join(waiting)}"] if waiting else []
    passed = "passed" if opinion.checks else "none"
    return [", ".join(approvals) or "none", "; ".join(checks) or passed, "yes" if opinion.conflicts else "no"]
