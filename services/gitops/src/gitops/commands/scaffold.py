"""The commands that add services and environments: one commit each, and a list of manual steps."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gitops.commands.landing import NO_LANDING, LandingOptions, land_and_show
from gitops.commands.options import Json
from gitops.fork.scaffold import new_environment, new_service, training_folders
from gitops.git.repository import Repository
from gitops.git.snapshot import Edit, Snapshot
from gitops.platform.model import Environment, Platform, Service
from gitops.platform.reader import FILE, read_platform
from gitops.platform.targets import fed_by, listed
from gitops.terminal import Terminal

app = App(name="new", help="Add a service or an environment, in one commit.")


@app.command
def service(
    name: str,
    /,
    landing: LandingOptions = NO_LANDING,
    *,
    model: str,
    owner: str,
    environments: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    json: Json = False,
) -> int:
    """Add a service: its entry in platform.yaml, its tuning with a host name in each environment, and its owner.

    Args:
        name: Its name: a DNS label.
        landing: What to do with the commit.
        model: The registered model that it serves.
        owner: Who reviews it, as in CODEOWNERS: @you or @organisation/team.
        environments: The environments in which it gets a host name now; repeatable. [default: all]
        json: Print what changed as JSON.
    """
    wanted = Service(name=name, model=model, owner=owner)
    return _added(
        new_service(wanted, environments),
        landing,
        lambda platform, start: _left_of_service(platform, wanted, training_folders(start, wanted)),
        json=json,
    )


@app.command
def environment(
    name: str,
    /,
    landing: LandingOptions = NO_LANDING,
    *,
    from_: Annotated[str, Parameter(name="--from")],
    cluster: str = "",
    namespace: str = "",
    min_age: str = "0s",
    json: Json = False,
) -> int:
    """Add an environment: its entry in platform.yaml, and a copy of its source's tuning with other host names.

    Args:
        name: Its name: a DNS label.
        landing: What to do with the commit.
        from_: The environment whose pins are promoted to it, and whose tuning is copied.
        cluster: A name under `clusters` of platform.yaml. [default: the cluster of Argo CD]
        namespace: Its namespace. [default: ml-pipeline-NAME]
        min_age: How long pins must run in --from before they are proposed, such as 10m.
        json: Print what changed as JSON.
    """
    wanted = Environment(name=name, source=from_, min_age=min_age, cluster=cluster, namespace=namespace)
    return _added(new_environment(wanted), landing, lambda platform, _: _left_of_environment(platform, name), json=json)


def _added(
    edit: Edit, landing: LandingOptions, left: Callable[[Platform, Snapshot], Sequence[str]], *, json: bool
) -> int:
    start = landing.start(Repository.find())
    fate = land_and_show(start, edit, landing, json=json)
    if not json:
        text = edit(start)[0].files[FILE]
        terminal = Terminal()
        terminal.line("Left to do:")
        for number, step in enumerate(left(read_platform(text or ""), start), 1):
            terminal.line(f"  {number}. {step}")
    return fate.exit_code


def _left_of_service(platform: Platform, service: Service, folders: Sequence[Path]) -> Sequence[str]:
    name, model = service.name, service.model
    first = [entry.name for entry in platform.environments if not entry.source]
    trained = listed([f"{folder}/training.yaml" for folder in folders]) if folders else "a new folder of models/"
    return [
        f"A version of {model}: {trained} and `training run`, or `training register`.",
        "Run `gitops bootstrap` again, so that Argo CD knows it; it changes nothing that exists.",
        *(
            f"Release it: gitops bump {entry}/{name} --image IMAGE --model {model}@candidate --chart VERSION "
            f"(`gitops history` and envs/{entry}/*/release.yaml show what others run)."
            for entry in first
        ),
        f"Promote it: `gitops promote` proposes {name} in the environments that have a `from`.",
        "Point the host names above to the cluster, or change `ingress.hosts`.",
    ]


def _left_of_environment(platform: Platform, name: str) -> Sequence[str]:
    made = platform.environment(name)
    elsewhere = f" --context-of {made.cluster}=CONTEXT" if made and made.cluster else ""
    source = made.source if made else ""
    others = [entry.name for entry in platform.environments if entry.source == source and entry.name != name]
    between = [f"It is next to {', '.join(others)}: to put it between, set their `from` in platform.yaml to {name}."]
    return [
        f"Its namespace and Secrets: gitops bootstrap{elsewhere}",
        f"The first release: gitops promote {name}",
        "Point the host names above to the cluster, or change `ingress.hosts`.",
        f".github/CODEOWNERS: who must approve what {name} runs.",
        *(between if others and not fed_by(platform, made or platform.environments[0]) else []),
    ]
