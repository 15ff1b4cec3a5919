"""A real Gitea on the loopback address with a separate Postgres, and its users."""

import getpass
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from sqlalchemy import URL, make_url

from embedded.processes import LOOPBACK, Server, free_port
from tests.integration.stores import begin_postgres, postgres

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".cache/tools/bin/gitea"
_ADMIN = "root-of-the-forge"
_PASSWORD = "of-the-tests-only-1"
_TOKEN = "token"
# Two entries on each page, so that every list has several pages.
_SETTINGS = """
RUN_USER = {user}
RUN_MODE = prod
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
[server]
HTTP_ADDR = {host}
HTTP_PORT = {port}
ROOT_URL = http://{host}:{port}/
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = postgres
HOST = {database.query[host]}
NAME = {database.database}
USER = {database.username}
SSL_MODE = disable
[security]
INSTALL_LOCK = true
SECRET_KEY = of-the-tests
PASSWORD_HASH_ALGO = pbkdf2$1000$50
[service]
DISABLE_REGISTRATION = true
[api]
MAX_RESPONSE_ITEMS = 2
DEFAULT_PAGING_NUM = 2
[queue]
TYPE = channel
[indexer]
ISSUE_INDEXER_TYPE = db
[actions]
ENABLED = true
[webhook]
ALLOWED_HOST_LIST = loopback
[cron]
ENABLED = false
[log]
LEVEL = Warn
"""


class GiteaServer:
    """The running server, used as its administrator."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._numbers = count(1)
        self._client = httpx.Client(
            base_url=f"{url}/api/v1", headers={"Authorization": f"token {token}"}, timeout=30, trust_env=False
        )

    def call(self, method: str, path: str, content: object = None, *, login: str = "") -> Any:
        """Send a request as the administrator, or as a user by name and password. Fail if the answer is an error."""
        auth = httpx.BasicAuth(login, _PASSWORD) if login else None
        headers = {"Authorization": ""} if login else {}
        answer = self._client.request(method, path, json=content, auth=auth, headers=headers if not auth else None)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def user(self, name: str) -> str:
        """Make a new user whose name begins with `name`, and return the login."""
        login = f"{name}-{next(self._numbers)}"
        content = {"username": login, "email": f"{login}@example.com", "password": _PASSWORD}
        self.call("POST", "/admin/users", {**content, "must_change_password": False})
        return login

    def token(self, login: str, *scopes: str) -> tuple[str, str]:
        """Make a token of a user, and return its name and the token itself."""
        name = f"token-{next(self._numbers)}"
        made = self.call("POST", f"/users/{login}/tokens", {"name": name, "scopes": scopes}, login=login)
        return name, made["sha1"]

    def forget(self, login: str, name: str) -> None:
        """Delete a token."""
        self.call("DELETE", f"/users/{login}/tokens/{name}", login=login)

    def close(self) -> None:
        self._client.close()


def begin_gitea(folder: Path) -> None:
    """Fill a folder with the initial state for `gitea`: a database with its tables, its administrator and a token."""

    def fill(address: str) -> None:
        with TemporaryDirectory() as work:
            (folder / _TOKEN).write_text(_administered(_Place(Path(work), make_url(address))))

    begin_postgres(folder, fill)


@contextmanager
def gitea(folder: Path, begun: Path) -> Iterator[GiteaServer]:
    """Run a Gitea in a folder until the block ends, from a copy of what `begin_gitea` made."""
    # With SQLite, Gitea needs a C compiler.
    with postgres(begun) as address:
        place = _Place(folder, make_url(address))
        web, log = [*place.command, "web"], folder / "gitea.log"
        with Server("Gitea", web, url=place.url, ready_path="/api/healthz", log=log, environment=place.environment):
            server = GiteaServer(place.url, (begun / _TOKEN).read_text())
            try:
                yield server
            finally:
                server.close()


class _Place:
    """The folder with the configuration, the database and the address of a Gitea."""

    def __init__(self, folder: Path, database: URL) -> None:
        port = free_port()
        config = folder / "app.ini"
        settings = {"user": getpass.getuser(), "host": LOOPBACK, "port": port, "static": _static()}
        config.write_text(_SETTINGS.format(**settings, database=database))
        self.url = f"http://{LOOPBACK}:{port}"
        self.command = [str(PROGRAM), "--config", str(config), "--work-path", str(folder)]
        # Gitea writes to git's global settings. For the tests these are /dev/null, which root would replace by a file.
        self.environment = {"GIT_CONFIG_GLOBAL": str(folder / "gitconfig"), "HOME": str(folder)}

    def administer(self, *arguments: str) -> str:
        """Run one of Gitea's commands, and return its output."""
        done = subprocess.run(
            [*self.command, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


def _administered(place: _Place) -> str:
    """Make the tables and the administrator, and return the administrator's token."""
    place.administer("migrate")
    place.administer(
        *("admin", "user", "create", "--admin", "--username", _ADMIN, "--password", _PASSWORD),
        *("--email", "root@example.com", "--must-change-password=false"),
    )
    return place.administer(
        *("admin", "user", "generate-access-token", "--username", _ADMIN, "--token-name", "tests"),
        *("--scopes", "all", "--raw"),
    ).splitlines()[-1]


def _static() -> str:
    """Return the folder of templates and texts, which are in the module that the program is built from.

    Go downloads the module again if its cache was emptied after the build.
    """
    module = subprocess.run(
        [ROOT / ".venv/bin/go", "mod", "download", "-json", "code.gitea.io/gitea"],
        cwd=ROOT / "tools/go/gitea",
        env=os.environ | {"GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    folder: str = json.loads(module.stdout)["Dir"]
    return folder
