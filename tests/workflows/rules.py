"""The rules for everything under .github: each takes the files and returns the violations, in sentences.

zizmor and actionlint check what holds on GitHub in general. These rules are this repository's own: who may write what,
and what shell may do.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from tests.workflows.workflow import APP_TOKEN, Files, Job, Workflow, variables

Rule = Callable[[Files], list[str]]

_PINNED = re.compile(r"uses: (?:\./\S+|[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*)$")
_USES = re.compile(r"uses: .*")
# Variables that GitHub sets in every step.
_GIVEN = re.compile(r"(GITHUB|RUNNER)_[A-Z_]+|HOME|PATH|PWD")
_GITOPS = ".venv/bin/gitops"
# The verbs of gitops that push to the branch itself, and the only use of them in workflows. All other pins that
# machines move go through tools/bump, which reads platform.yaml.
_WRITES_THE_BRANCH = frozenset({"bump", "rollback", "hold", "unhold", "new", "remove", "migrate"})
_OF_MACHINES = ("bump", "platform")
# The only commands that run with a token that can push. promote pushes a separate branch, and watch pushes only pins
# that were approved before.
_KEPT_BY = (
    (_GITOPS, "promote"),
    (_GITOPS, "watch"),
    (".venv/bin/training", "run"),
    ("gh", "auth", "setup-git"),
    ("make", ".venv/.dev"),
    ("make", ".venv/.run"),
    ("tools/bump",),
    ("tools/pin-delivered",),
    ("tools/publish-release",),
)
# Commands that open pull requests of the App, always or if platform.yaml has `bumps: pull-requests`.
_PROPOSES = ((_GITOPS, "promote"), (_GITOPS, "watch"), ("tools/bump",), ("tools/pin-delivered",))
# Events whose workflows run code of a pull request.
_OUTSIDE = frozenset({"pull_request", "pull_request_target", "issue_comment", "workflow_run"})
_PUBLISHING = ("contents", "packages", "id-token")
_DEFAULT_BRANCH = "github.event.repository.default_branch"
# Every permission that a job may have for writing.
_WRITABLE = frozenset({*_PUBLISHING, "pull-requests"})


def pinned(files: Files) -> list[str]:
    """Actions are pinned by commit, with the version in a comment for people and for Renovate."""
    return [
        f"{path}: {use[0]!r} is not pinned as NAME@COMMIT # vVERSION"
        for path, text in files.texts.items()
        for use in _USES.finditer(text)
        if not _PINNED.fullmatch(use[0])
    ]


def permissions_are_declared(files: Files) -> list[str]:
    """A workflow has no permissions, and each job declares those that it needs."""
    found = [
        f"{each.name}: permissions must be {{}}" for each in files.workflows if each.values.get("permissions") != {}
    ]
    for job in files.jobs:
        given = job.values.get("permissions")
        if not isinstance(given, dict):
            found.append(f"{job.title}: says no permissions of its own")
            continue
        found += [
            f"{job.title}: {name}: {level} is unknown to these rules"
            for name, level in given.items()
            if not _usual(name, level)
        ]
    return found


def checkouts_keep_no_token(files: Files) -> list[str]:
    """A checkout leaves no token for the steps after it."""
    return [
        f"{job.title}: checkout without persist-credentials: false"
        for job in files.jobs
        for step in job.steps
        if (step.uses or "").startswith("actions/checkout@")
        and step.values.get("with", {}).get("persist-credentials") != "false"
    ]


def jobs_end(files: Files) -> list[str]:
    """Each job has a time limit, because GitHub's default is six hours."""
    return [
        f"{job.title}: has no timeout-minutes"
        for job in files.jobs
        if job.steps and "timeout-minutes" not in job.values
    ]


def shell_fails(files: Files) -> list[str]:
    """The default shell is `bash`, which lets a pipe fail if any part fails; GitHub's own default does not."""
    return [
        f"{each.name}: defaults.run.shell must be bash"
        for each in files.workflows
        if each.values.get("defaults", {}).get("run", {}).get("shell") != "bash"
    ]


def shell_takes_no_expressions(files: Files) -> list[str]:
    """Values reach the shell by environment variables, so that they are never read as code."""
    return [
        f"{job.title}: an expression in {step.run!r}"
        for job in files.jobs
        for step in job.steps
        if "${{" in (step.run or "")
    ]


def variables_are_set(files: Files) -> list[str]:
    """Every variable that a line of shell reads is set by its step, its job or GitHub."""
    return [
        f"{job.title}: ${name} is set nowhere"
        for job in files.jobs
        for step in job.steps
        for name in sorted(variables(step.run or ""))
        if name not in {*job.env, *step.env} and not _GIVEN.fullmatch(name)
    ]


def what_is_published_comes_from_no_cache(files: Files) -> list[str]:
    """A job that publishes uses no cache of an earlier run; zizmor does not check our own action for this."""
    return [
        f'{job.title}: publishes, so the action prepare needs cache: "false"'
        for job in files.jobs
        if isinstance(job.permissions, dict) and "write" in {job.permissions.get(name) for name in _PUBLISHING}
        for step in job.steps
        if step.uses == "./.github/actions/prepare" and step.values.get("with", {}).get("cache") != "false"
    ]


def only_the_branch_reaches_the_key(files: Files) -> list[str]:
    """No tag starts a workflow, and a job that signs or has the key depends on a check of the default branch."""
    found = []
    for workflow in files.workflows:
        if "push" in workflow.events and "tags" in workflow.events["push"]:
            found.append(f"{workflow.name}: a tag starts it, and a person who may push a tag chooses what it runs")
        jobs = {job.name: job for job in workflow.jobs}
        for job in workflow.jobs:
            signs = isinstance(job.permissions, dict) and job.permissions.get("id-token") == "write"
            if not (signs or job.values.get("environment") == "delivery"):
                continue
            if not any(_DEFAULT_BRANCH in jobs[name].values.get("if", "") for name in _hangs_on(job, jobs)):
                found.append(f"{job.title}: has the key or signs, and does not ask for the default branch")
    return found


def bumps_are_never_cancelled(files: Files) -> list[str]:
    """A workflow that writes to git is never cancelled, and its concurrency group has no other workflow."""
    found = []
    groups: dict[str, str] = {}
    for workflow in files.workflows:
        concurrency = workflow.values.get("concurrency")
        if not isinstance(concurrency, dict):
            found.append(f"{workflow.name}: has no concurrency group")
            continue
        if _writes(workflow) and concurrency.get("cancel-in-progress") != "false":
            found.append(f"{workflow.name}: writes to git, so cancel-in-progress must be false")
        # GitHub cancels a waiting run for a newer one of its group, so two workflows must not share a group.
        if other := groups.get(concurrency["group"]):
            found.append(f"{workflow.name}: shares its concurrency group with {other}")
        groups[concurrency["group"]] = workflow.name
    return found


def secrets_stay_inside(files: Files) -> list[str]:
    """Secrets belong to the environment `delivery`, which only the default branch reaches."""
    found = []
    for workflow in files.workflows:
        if "secrets." in workflow.text and _OUTSIDE & set(workflow.events):
            found.append(f"{workflow.name}: a pull request starts it, and it names a secret")
        found += [
            f"{job.title}: names a secret outside the environment delivery"
            for job in workflow.jobs
            if "secrets." in str(job.values) and job.values.get("environment") != "delivery"
        ]
    return found


def pull_requests_write_nothing(files: Files) -> list[str]:
    """A workflow for pull requests writes nothing but a comment, from a job that runs none of their code."""
    found = []
    for workflow in files.workflows:
        if "pull_request_target" in workflow.events or "workflow_run" in workflow.events:
            found.append(f"{workflow.name}: starts with rights that a pull request must not have")
        if not _OUTSIDE & set(workflow.events):
            continue
        for job in workflow.jobs:
            levels = job.permissions if isinstance(job.permissions, dict) else {}
            writes = {name for name, level in levels.items() if level == "write"}
            if writes - {"pull-requests"}:
                found.append(f"{job.title}: a pull request starts it, and it may write {', '.join(sorted(writes))}")
            elif writes and not _runs_the_base(job):
                found.append(f"{job.title}: may comment, so it must check out the base and nothing else")
    return found


def the_key_is_for_known_commands(files: Files) -> list[str]:
    """A job with a token that can push runs only known commands."""
    return [
        f"{job.title}: can push, and runs {' '.join(command)}"
        for job in files.jobs
        if job.reaches_main
        for command in job.commands
        if not any(command[: len(known)] == known for known in _KEPT_BY)
    ]


def proposing_commands_have_a_token_for_it(files: Files) -> list[str]:
    """A command that may open pull requests has a token with that right; git's own credentials do not have it."""
    found = []
    for job in files.jobs:
        for step in job.steps:
            if not any(command[: len(known)] == known for command in step.commands for known in _PROPOSES):
                continue
            given = [each.values.get("with", {}) for each in job.steps if (each.uses or "").startswith(APP_TOKEN)]
            if "GITHUB_TOKEN" not in {**job.env, **step.env}:
                found.append(f"{job.title}: {step.run} may open pull requests, and gets no GITHUB_TOKEN")
            if not any(each.get("permission-pull-requests") == "write" for each in given):
                found.append(f"{job.title}: {step.run} may open pull requests, and its token may not")
    return found


def what_is_fed_is_written_by_merging(files: Files) -> list[str]:
    """No workflow writes to environments with a `from`: machines propose there, and pin only elsewhere."""
    found = []
    for job in files.jobs:
        for command in job.commands:
            if command[0] != _GITOPS or len(command) < 2 or command[1] not in _WRITES_THE_BRANCH:
                continue
            if command[1:3] != _OF_MACHINES:
                found.append(f"{job.title}: {' '.join(command)} writes what is not a machine's to write")
        found += [
            f"{job.title}: {' '.join(command)} merges, which is a person's to do"
            for command in job.commands
            if command[:2] in {("gh", "pr"), ("gh", "api"), ("git", "push"), ("git", "merge")}
        ]
    return found


def proposals_are_judged_by_the_base(files: Files) -> list[str]:
    """The base's code judges a pull request, whose own code is only data, in a separate folder."""
    found = []
    for job in files.jobs:
        if any(command[:2] == (_GITOPS, "review") for command in job.commands):
            found.append(f"{job.title}: judges its own checkout; tools/judge judges another folder")
        if any(command[0] == "tools/judge" for command in job.commands) and not _runs_the_base(job):
            found.append(f"{job.title}: judges a pull request, so it must run the base's code")
    return found


def names_come_from_data(files: Files) -> list[str]:
    """Only platform.yaml and models/ name environments, services and models; workflows work for all."""
    return [
        f"{path}: names {name}, which is data (platform.yaml, models/) and may change"
        for path, text in files.texts.items()
        for name in sorted(files.names)
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
    ]


RULES: tuple[Rule, ...] = (
    pinned,
    permissions_are_declared,
    checkouts_keep_no_token,
    jobs_end,
    shell_fails,
    shell_takes_no_expressions,
    variables_are_set,
    what_is_published_comes_from_no_cache,
    only_the_branch_reaches_the_key,
    bumps_are_never_cancelled,
    secrets_stay_inside,
    pull_requests_write_nothing,
    the_key_is_for_known_commands,
    proposing_commands_have_a_token_for_it,
    what_is_fed_is_written_by_merging,
    proposals_are_judged_by_the_base,
    names_come_from_data,
)


def _hangs_on(job: Job, jobs: Mapping[str, Job]) -> set[str]:
    wanted = job.values.get("needs", [])
    names = [wanted] if isinstance(wanted, str) else wanted
    return {job.name}.union(*(_hangs_on(jobs[name], jobs) for name in names))


def _usual(name: str, level: str) -> bool:
    return level == "read" or (level == "write" and name in _WRITABLE)


def _writes(workflow: Workflow) -> bool:
    return any(job.reaches_main or job.values.get("uses") for job in workflow.jobs)


def _runs_the_base(job: Job) -> bool:
    """Return whether all checkouts, except those into other folders, are of the pull request's base."""
    checkouts = (step.values.get("with", {}) for step in job.steps if (step.uses or "").startswith("actions/checkout@"))
    refs: Iterable[str] = (given.get("ref", "the pull request") for given in checkouts if "path" not in given)
    return all(ref == "${{ github.event.pull_request.base.sha }}" for ref in refs)
