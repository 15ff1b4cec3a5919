"""`gitops move-store` without the copying: the direction, the keys, and the commit."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from gitops.cli import execute
from gitops.cluster.secrets import bootstrap_secrets, make_secrets
from gitops.commands.landing import NO_LANDING, land_and_show
from gitops.errors import BadInputError, NotConvergedError
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.platform.model import Environment, Platform, Registry, StoreKind
from gitops.platform.reader import FILE, read_platform
from gitops.stores.copying import Pass
from gitops.stores.moving import Route, refuse_unlike, root_keys, route, said, switched
from services.gitops.tests.conftest import git
from services.gitops.tests.memory_cluster import MemoryCluster

PLATFORM = Platform(
    repository="https://git.example.com/flora/petals.git",
    registry=Registry(prefix="registry.example.com/flora/petals"),
    environments=[Environment(name="staging")],
)
THERE = Route(source="minio", target="seaweedfs", late=False)


def snapshot(fork: Path) -> Snapshot:
    repository = Repository(fork)
    return Snapshot(repository, repository.commit_named("HEAD"))


def test_without_a_second_store_the_error_names_a_remedy() -> None:
    with pytest.raises(BadInputError, match="add `nextStore: seaweedfs`, push it"):
        route(PLATFORM, "seaweedfs", late=False)


def test_a_late_copy_needs_a_switch_and_an_old_store() -> None:
    both = msgspec.structs.replace(PLATFORM, next_store="seaweedfs")
    with pytest.raises(BadInputError, match="still minio: run `gitops move-store seaweedfs` first"):
        route(both, "seaweedfs", late=True)
    assert route(both, "minio", late=True) == Route(source="seaweedfs", target="minio", late=True)
    with pytest.raises(BadInputError, match="no `nextStore`, so no old store runs"):
        route(PLATFORM, "minio", late=True)


def test_a_repeated_move_changes_nothing(fork: Path, origin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person repeats the command because an error of the network hid its result: that must not move back."""
    run_both(fork)
    git(fork, "push", "--quiet", "origin", "HEAD:main")
    start = snapshot(fork)
    land_and_show(start, switched(THERE), NO_LANDING, json=False)
    moved = git(origin, "rev-parse", "main")
    assert moved != start.commit
    for options in ([], ["--dry-run"], ["--no-push"]):
        capsys.readouterr()
        assert execute(["move-store", "seaweedfs", *options]) == 0
        assert "seaweedfs is already the store" in " ".join(capsys.readouterr().err.split())
    assert git(origin, "rev-parse", "main") == moved
    assert git(fork, "rev-parse", "HEAD") == moved


def test_the_store_must_be_named_and_known(fork: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_both(fork)
    assert execute(["move-store"]) == 2
    assert "STORE" in capsys.readouterr().err
    assert execute(["move-store", "nowhere"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in get_args(StoreKind))


def run_both(fork: Path) -> None:
    (fork / FILE).write_text(f"{(fork / FILE).read_text().rstrip()}\nnextStore: seaweedfs  # for a while\n")
    git(fork, "commit", "--quiet", "--all", "--message", "Run both")


def test_the_switch_is_one_commit_that_changes_the_two_lines(fork: Path) -> None:
    before = (fork / FILE).read_text()
    run_both(fork)

    (proposal,) = switched(THERE)(snapshot(fork))

    text = proposal.files[FILE] or ""
    after = read_platform(text)
    assert (after.store, after.next_store) == ("seaweedfs", "minio")
    assert proposal.message.splitlines()[0] == "move(store): seaweedfs"
    assert "store: minio -> seaweedfs" in proposal.message
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []


def test_a_second_switch_changes_nothing(fork: Path) -> None:
    (proposal,) = switched(Route(source="seaweedfs", target="minio", late=False))(snapshot(fork))
    assert (proposal.files, proposal.left_alone) == ({}, "minio is already the store")


def test_both_stores_have_the_same_root_user() -> None:
    cluster = MemoryCluster()
    with pytest.raises(BadInputError, match="ml-pipeline/minio-root has no root-user: run gitops bootstrap first"):
        root_keys(cluster)
    make_secrets(cluster, bootstrap_secrets(PLATFORM))
    key_id, secret = root_keys(cluster)
    assert (len(key_id), len(secret)) == (20, 40)


def test_nothing_is_switched_while_objects_are_still_written() -> None:
    with pytest.raises(NotConvergedError, match="objects are still being written: 3 in the last one"):
        refuse_unlike([Pass(objects=9, same=6, copied=3), Pass()])


def test_the_description_of_a_pass() -> None:
    done = Pass(objects=5, size=70, same=2, copied=1, missing=1, newer=1)
    assert said(done) == (
        "5 objects, 70 bytes, 2 with the same digest, 1 copied, 1 missing, 1 newer in the store in use"
    )
