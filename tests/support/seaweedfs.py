"""A real SeaweedFS, started with what the seaweedfs chart renders: the users' file and the server by the pod's scripts,
with the server's arguments, and the buckets by the Job's script."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil

from embedded.processes import LOOPBACK, Server, ServerFailedError, program
from embedded.seaweedfs import own_places
from tests.support import helm, s3
from tests.support.manifests import parse
from tests.support.minio import PROGRAMS

FILES = helm.CHARTS / "seaweedfs" / "files"
RELOAD_SECONDS = "0.5"


class Rendering(msgspec.Struct, frozen=True):
    """What the chart makes of a scenario, as far as it is run here."""

    pod: dict[str, Any]
    job: dict[str, Any]
    """The Job's container."""
    config: dict[str, str]

    @property
    def server(self) -> dict[str, Any]:
        """The server's container."""
        return self.pod["containers"][0]  # type: ignore[no-any-return]

    @property
    def metadata(self) -> dict[str, Any]:
        """The container beside it that holds the names of objects."""
        return next(c for c in self.pod["initContainers"] if c["name"] == "metadata")


def rendered(scenario: int = 0) -> Rendering:
    """Render the chart with one of ci/*.yaml."""
    outcome = helm.template("seaweedfs", helm.scenarios("seaweedfs")[scenario])
    assert outcome.code == 0, outcome.errors
    manifests = parse(outcome.output)
    of_kind = {m["kind"]: m["spec"]["template"]["spec"] for m in manifests if m["kind"] in ("StatefulSet", "Job")}
    config = next(m for m in manifests if m["kind"] == "ConfigMap" and m["metadata"]["name"] == "seaweedfs")["data"]
    return Rendering(of_kind["StatefulSet"], of_kind["Job"]["containers"][0], config)


class Mounts(msgspec.Struct, frozen=True):
    """The Secrets and policies, as files, which all servers and Jobs of a store have."""

    folder: Path

    def write(self, user: str, values: Mapping[str, str]) -> None:
        """Make what a user's Secret holds exactly this; `root` is the server's own. New keys come before old go."""
        place = self.place(user)
        place.mkdir(parents=True, exist_ok=True)
        for key, value in values.items():
            new = place.parent / f"new-{user}-{key}"
            new.write_text(value)
            new.replace(place / key)
        for path in place.iterdir():
            if path.name not in values:
                path.unlink()

    def place(self, user: str) -> Path:
        """Where the keys of a user stand."""
        return self.folder / ("root" if user == "root" else f"users/{user}")

    def environment(self, config: Path) -> dict[str, str]:
        """What tells the scripts where all this is, and where the users' file goes."""
        return {
            "CONFIG": str(config),
            "POLICIES": str(self.folder / "policies.json"),
            "ROOT_DIR": str(self.folder / "root"),
            "USERS_DIR": str(self.folder / "users"),
            "MC_CONFIG_DIR": str(self.folder / "mc"),
        }

    def provision(self, rendering: Rendering, url: str, *nodes: str, seconds: int = 30) -> str:
        """Run the Job's script; give what it said.

        Raises:
            AssertionError: It failed, with what it said.
        """
        own = {"STORE_URL": url, "NODE_URLS": " ".join(nodes or (url,)), "WAIT_SECONDS": str(seconds)}
        return run_script("provision.sh", rendering.job, self.environment(self.folder / "none") | own)


def mounts(folder: Path, rendering: Rendering, users: Mapping[str, Mapping[str, str]] | None = None) -> Mounts:
    """Make them, with the keys of `users`, or new ones, for root and the chart's users."""
    made = Mounts(folder)
    for user in s3.USERS:
        made.write(user, (users or {}).get(user) or s3.random_keys())
    (folder / "policies.json").write_text(rendering.config["policies.json"])
    return made


def keys(made: Mounts) -> dict[str, dict[str, str]]:
    """The pair of each user, as its clients have it."""
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return {user: {key: (made.place(user) / key).read_text() for key in pair} for user in s3.USERS}


@contextlib.contextmanager
def running(folder: Path, users: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[s3.Target]:
    """Run a server with its data in `folder`, with the keys of `users`, or new ones, for root and the chart's users."""
    with mounted(folder, users) as (made, rendering, url):
        for _ in range(2):  # It is safe to repeat.
            made.provision(rendering, url)
        yield s3.Target("SeaweedFS", url, keys(made))


@contextlib.contextmanager
def mounted(
    folder: Path, users: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[tuple[Mounts, Rendering, str]]:
    """Run a server, without buckets yet; give what is mounted in its pod, what it was made from, and its address."""
    rendering = rendered()
    made = mounts(folder, rendering, users)
    # What the pod has for itself is shared by this machine's servers.
    own = own_places(folder)
    changed = {"-s3.ip.bind=": LOOPBACK, "-s3.port=": own.s3, "-metricsIp=": LOOPBACK, "-metricsPort=": own.metrics}
    with server(rendering, made, folder, changed, own.arguments) as process:
        try:
            yield made, rendering, process.url
        finally:
            end_at_once(process)  # Its data goes anyway, and an orderly end takes it a quarter of a minute.


def server(rendering: Rendering, made: Mounts, folder: Path, changed: Mapping[str, object], more: list[str]) -> Server:
    """Write the users' file as the init container does, and describe the server of a pod.

    Args:
        rendering: What the chart made.
        made: What is mounted.
        folder: The server's own.
        changed: By the beginning of an argument of the chart's, what follows it here.
        more: Arguments that its pod does not need.
    """
    environment = made.environment(folder / "s3.json")
    run_script("identities.sh", rendering.pod["initContainers"][0], environment)
    (folder / "data").mkdir(exist_ok=True)
    here = {
        "-dir=": folder / "data", "-s3.config=": folder / "s3.json", "-volume.max=": 100,
        "-master.volumeSizeLimitMB=": 32, **changed,
    }  # fmt: skip
    arguments = [
        next((f"{name}{value}" for name, value in here.items() if argument.startswith(name)), argument)
        for argument in rendering.server["args"]
    ]
    ready = rendering.server["startupProbe"]["httpGet"]["path"]
    return Server(
        "SeaweedFS", ["sh", str(FILES / "serve.sh"), *arguments, *more],
        url=f"http://{LOOPBACK}:{here['-s3.port=']}", ready_path=ready, log=folder / "s3.log",
        environment={
            **_environment(rendering.server), **environment, "DATA_DIR": str(folder / "data"), "HOME": str(folder),
            "RELOAD_SECONDS": RELOAD_SECONDS, "PATH": f"{Path(program('weed')).parent}:{os.environ['PATH']}",
        },
    )  # fmt: skip


def end_at_once(process: Server) -> None:
    """Let the server, and the script around it, end without hearing of it, as where power is lost."""
    with contextlib.suppress(ServerFailedError):
        for each in process.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.kill()


def run_script(name: str, container: Mapping[str, Any], changed: Mapping[str, str]) -> str:
    """Run a script of the chart with what a container sets, but `changed`; give what it said."""
    path = {"PATH": f"{Path(str(PROGRAMS['mc'])).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", FILES / name],
        env={**_environment(container), **changed, **path}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
