"""A real SeaweedFS, started from the rendered seaweedfs chart: the pod's scripts write the users' file and start the
server with its arguments, and the Job's script makes the buckets."""

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
    """The parts of a rendered scenario that are run here."""

    pod: dict[str, Any]
    job: dict[str, Any]
    """The Job's container."""
    config: dict[str, str]

    @property
    def server(self) -> dict[str, Any]:
        """Return the server's container."""
        return self.pod["containers"][0]  # type: ignore[no-any-return]

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the sidecar that holds the names of objects."""
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
    """The Secrets and policies as files, which all servers and Jobs of a store mount."""

    folder: Path

    def write(self, user: str, values: Mapping[str, str]) -> None:
        """Replace the content of a user's Secret; `root` is the server's user. New keys appear before old ones go."""
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
        """Return the folder with the keys of a user."""
        return self.folder / ("root" if user == "root" else f"users/{user}")

    def environment(self, config: Path) -> dict[str, str]:
        """Return the variables that tell the scripts where these files are, and where to write the users' file."""
        return {
            "CONFIG": str(config),
            "POLICIES": str(self.folder / "policies.json"),
            "ROOT_DIR": str(self.folder / "root"),
            "USERS_DIR": str(self.folder / "users"),
            "MC_CONFIG_DIR": str(self.folder / "mc"),
        }

    def provision(self, rendering: Rendering, url: str, *nodes: str, seconds: int = 30) -> str:
        """Run the Job's script, and return its output.

        Raises:
            AssertionError: The script failed. The message is its output.
        """
        own = {"STORE_URL": url, "NODE_URLS": " ".join(nodes or (url,)), "WAIT_SECONDS": str(seconds)}
        return run_script("provision.sh", rendering.job, self.environment(self.folder / "none") | own)


def mounts(folder: Path, rendering: Rendering, users: Mapping[str, Mapping[str, str]] | None = None) -> Mounts:
    """Make the files, with the keys in `users` or new ones, for root and the chart's users."""
    made = Mounts(folder)
    for user in s3.USERS:
        made.write(user, (users or {}).get(user) or s3.random_keys())
    (folder / "policies.json").write_text(rendering.config["policies.json"])
    return made


def keys(made: Mounts) -> dict[str, dict[str, str]]:
    """Return the pair of keys of each user, as its clients have it."""
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return {user: {key: (made.place(user) / key).read_text() for key in pair} for user in s3.USERS}


@contextlib.contextmanager
def running(folder: Path, users: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[s3.Target]:
    """Run a server with its data in `folder`, for root and the chart's users, with the keys in `users` or new ones."""
    with mounted(folder, users) as (made, rendering, url):
        for _ in range(2):  # it is safe to repeat
            made.provision(rendering, url)
        yield s3.Target("SeaweedFS", url, keys(made))


@contextlib.contextmanager
def mounted(
    folder: Path, users: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[tuple[Mounts, Rendering, str]]:
    """Run a server without buckets. Yield its mounted files, the rendering, and its address."""
    rendering = rendered()
    made = mounts(folder, rendering, users)
    # Paths that are private to a pod would be shared by all servers on this machine.
    own = own_places(folder)
    changed = {"-s3.ip.bind=": LOOPBACK, "-s3.port=": own.s3, "-metricsIp=": LOOPBACK, "-metricsPort=": own.metrics}
    with server(rendering, made, folder, changed, own.arguments) as process:
        try:
            yield made, rendering, process.url
        finally:
            end_at_once(process)  # its data is deleted anyway, and an orderly end takes 15 seconds


def server(rendering: Rendering, made: Mounts, folder: Path, changed: Mapping[str, object], more: list[str]) -> Server:
    """Write the users' file as the init container does, and return the description of a pod's server.

    Args:
        rendering: The rendered chart.
        made: The mounted files.
        folder: The server's own folder.
        changed: New values of the chart's arguments, by the beginning of the argument, such as `-s3.port=`.
        more: Additional arguments that a pod does not need.
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
    """Kill the server and the script around it at once, as a loss of power does."""
    with contextlib.suppress(ServerFailedError):
        for each in process.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.kill()


def run_script(name: str, container: Mapping[str, Any], changed: Mapping[str, str]) -> str:
    """Run a script of the chart with the container's variables, overridden by `changed`, and return its output."""
    path = {"PATH": f"{Path(str(PROGRAMS['mc'])).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", FILES / name],
        env={**_environment(container), **changed, **path}, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
